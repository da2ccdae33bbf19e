"""An index of packages on loopback, with wheels made here: one that asks for credentials, and one that can die."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading
import time
import zipfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_wheel(
    folder: Path, name: str, files: dict[str, str] | None = None, *, requires=(), tag="py3-none-any", version="1.0"
) -> Path:
    """Write a wheel with these files, by default one module that says its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / f"{name}-{version}-{tag}.whl", f"{name}-{version}.dist-info"
    told = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    content = {
        **(files or {f"{name}.py": f"__version__ = {version!r}\n"}),
        f"{info}/METADATA": told + "".join(f"Requires-Dist: {line}\n" for line in requires),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = []
    for where, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{where},sha256={digest},{len(text.encode())}\n")
    content[f"{info}/RECORD"] = "".join(rows) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for where, text in content.items():
            archive.writestr(where, text)
    return path


def make_tls(folder: Path) -> Path:
    """Write ``cert.pem`` and ``key.pem`` for 127.0.0.1, signed by itself, and return the folder."""
    folder.mkdir()
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "index")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=5))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(secret)
    return folder


class Index:
    """Serves the wheels of a folder; of what isn't there it knows nothing, so uv asks the next index.

    Parameters
    ----------
    credentials
        ``user:password`` without which nothing is answered. `asked` counts the requests that had them.
    pause
        Seconds before each answer.
    tls
        A folder with ``cert.pem`` and ``key.pem``, for https.

    """

    def __init__(self, folder: Path, credentials: str = "", *, pause: float = 0.0, tls: Path | None = None) -> None:
        self._folder, self._credentials, self._pause, self._tls = folder, credentials, pause, tls
        self.port = self.asked = 0
        self.start()

    @property
    def url(self) -> str:
        """The URL, with the credentials."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self._credentials}{'@' if self._credentials else ''}127.0.0.1:{self.port}/simple"

    def start(self) -> None:
        """Answer, at the same port as before."""
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls / "cert.pem", self._tls / "key.pem")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = base64.b64encode(self._credentials.encode()).decode()
        if self._credentials and request.headers.get("Authorization") != f"Basic {wanted}":
            request.send_response(401)
            request.send_header("WWW-Authenticate", "Basic")
            request.end_headers()
            return
        self.asked += 1
        time.sleep(self._pause)
        parts = request.path.strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2:
            names = [p.name for p in self._folder.glob("*.whl") if p.name.startswith(parts[1].replace("-", "_") + "-")]
            body = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in names).encode() if names else None
            kind = "text/html"
        else:
            path = self._folder / parts[-1]
            body, kind = (path.read_bytes() if path.is_file() else None), "application/octet-stream"
        if body is None:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
