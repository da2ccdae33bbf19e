"""The ledger of this user's clusters on this host: who owns which, their last state, and the cores they reserve.

Code without an event loop (commands, `connect`, tests) calls `Ledger` directly. Code on an event loop calls it through
`AsyncLedger` only, since each call may wait seconds for the disk or for another process:

* ``rows = await ledger.ask(Ledger.list)`` and ``await ledger.ask(lambda held: held.reserve(spec, core_limit=…))`` run one
  call in the ledger's thread and raise Timeout or Unavailable after their deadline, after which they aren't carried out;
* ``ledger.keep(f"sync {sync.id}", lambda held: held.journal.save_sync(sync, spec))`` returns at once: the write is made as
  soon as possible and retried until it succeeds; of several with one key only the last counts;
* ``ledger.fault`` is the reason why a pending write failed, and None as soon as everything is written.

Bookkeeping uses `keep`; only what must hold before something starts (a reservation, a name) uses `ask` and may fail a
request.
"""

from .asynchronous import AsyncLedger as AsyncLedger
from .reservations import Ledger as Ledger
from .reservations import Row as Row
from .reservations import first_state as first_state
