"""Addresses at which clouds keep their machines' secrets aren't attached, however they are written."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.service.attach import address


def refused(host: str) -> bool:
    try:
        asyncio.run(address(f"tcp://{f'[{host}]' if ':' in host else host}:8786"))
    except Invalid:
        return True
    return False


def ipv6(data: bytes) -> str:
    return str(ipaddress.IPv6Address(data))


PREFIXES = {
    "mapped": b"\0" * 10 + b"\xff\xff",
    "translated": b"\0" * 8 + b"\xff\xff\0\0",
    "compatible": b"\0" * 12,
    "NAT64": bytes.fromhex("0064ff9b") + b"\0" * 8,
    "local NAT64": bytes.fromhex("0064ff9b0001") + b"\0" * 6,
    "local NAT64 of a provider": bytes.fromhex("0064ff9b0001abcd00123456"),
    "ISATAP": bytes.fromhex("20010db8000000000200") + b"\x5e\xfe",
}
WAYS = {
    **{name: lambda v4, prefix=prefix: ipv6(prefix + v4) for name, prefix in PREFIXES.items()},
    "6to4": lambda v4: ipv6(b"\x20\x02" + v4 + b"\0" * 10),
    "Teredo": lambda v4: ipv6(bytes.fromhex("20010000c0000201") + b"\0" * 4 + bytes(byte ^ 255 for byte in v4)),
    "Teredo server": lambda v4: ipv6(bytes.fromhex("20010000") + v4 + b"\0" * 4 + b"\xf5\xff\xff\xff"),
    "NAT64 of 48 bits": lambda v4: ipv6(bytes.fromhex("0064ff9b0001") + v4[:2] + b"\0" + v4[2:] + b"\0" * 5),
    "NAT64 of 56 bits": lambda v4: ipv6(bytes.fromhex("0064ff9b000100") + v4[:1] + b"\0" + v4[1:] + b"\0" * 4),
    "NAT64 of 64 bits": lambda v4: ipv6(bytes.fromhex("0064ff9b00010000") + b"\0" + v4 + b"\0" * 3),
    "decimal": lambda v4: str(int.from_bytes(v4, "big")),
    "hexadecimal": lambda v4: hex(int.from_bytes(v4, "big")),
    "octal parts": lambda v4: ".".join(f"0{byte:o}" for byte in v4),
    "hexadecimal parts": lambda v4: ".".join(map(hex, v4)),
    "two parts": lambda v4: f"{v4[0]}.{int.from_bytes(v4[1:], 'big')}",
    "three parts": lambda v4: f"{v4[0]}.0x{v4[1]:x}.{int.from_bytes(v4[2:], 'big')}",
}
link_local = st.binary(min_size=2, max_size=2).map(lambda end: bytes((169, 254)) + end)
multicast = st.tuples(st.integers(224, 239), st.binary(min_size=3, max_size=3)).map(lambda it: bytes([it[0]]) + it[1])
metadata = st.sampled_from(["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"]).map(
    lambda text: ipaddress.IPv4Address(text).packed
)


@given(st.sampled_from(sorted(WAYS)), link_local | multicast | metadata)
def test_forbidden_addresses_are_refused_in_each_form(way, v4):
    assert refused(str(ipaddress.IPv4Address(v4)))
    assert refused(WAYS[way](v4)), WAYS[way](v4)


@pytest.mark.parametrize(
    "host",
    ["fe80::1", "fe80::1%eth0", "fe80::1%25eth0", "febf::1", "ff02::1", "::", "0.0.0.0", "0", "fd00:ec2::254", "fd20:ce::254"],
)  # fmt: skip
def test_other_forbidden_addresses(host):
    assert refused(host)


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("host", ["10.0.0.7", "127.0.0.1", "192.168.1.20", "100.64.0.9"])
def test_other_hosts_may_be_attached_in_each_form(way, host):
    assert not refused(host)
    assert not refused(WAYS[way](ipaddress.IPv4Address(host).packed))


@pytest.mark.parametrize("host", ["::1", "2001:db8::7", "fd12:3456::9"])
def test_other_addresses_may_be_attached(host):
    assert not refused(host)
