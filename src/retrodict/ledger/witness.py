"""Asking a witness for its cosignature: C2SP tlog-witness, `add-checkpoint`."""

from __future__ import annotations

import base64
import re
import urllib.error
import urllib.request
from collections.abc import Sequence

from retrodict.kernel.errors import UsageError
from retrodict.kernel.note import MAX_NOTE_BYTES, Checkpoint, Signature, decode_signatures
from retrodict.ledger.errors import ForkError, OldStoreError, WitnessError
from retrodict.ledger.log import Ledger

TIMEOUT_S = 30.0
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n\Z")
_UNREACHED = "Look at its address (a submission prefix, without add-checkpoint) and at the network, and try again."
_ATTEMPTS = 3  # others may have the same log cosigned at the same time


def ask_witness(ledger: Ledger, checkpoint: Checkpoint, url: str, *, seen: int = 0) -> tuple[Signature, ...]:
    """Return the cosignatures that the witness at `url` gives over `checkpoint`; nobody has verified them yet.

    Args:
        ledger: The log, which gives the proofs of consistency.
        checkpoint: Signed by the log's key.
        url: The witness's submission prefix, http or https.
        seen: How many entries it has cosigned, as far as is known here; it corrects that.

    Raises:
        UsageError: `url` is no web address.
        WitnessError: It cannot be reached, does not know the log or its key, or answers beside the protocol.
        OldStoreError: It has cosigned more of this log than the log has.
        ForkError: It has cosigned another history of this log.
    """
    if not re.match(r"https?://[^/\s]", url):
        raise UsageError(f"{url} is no web address of a witness", hint="Give its submission prefix, http://...")
    where = f"the witness at {url}"
    for _ in range(_ATTEMPTS):
        proof = ledger.consistency_proof(seen, checkpoint.size) if seen <= checkpoint.size else []
        status, answer = _post(url, _request(seen, proof, checkpoint))
        match = _SIZE.match(answer)
        if status == 200:
            return decode_signatures(answer)
        if status == 409 and match and int(match[1]) != seen:
            seen = int(match[1])
            if seen > checkpoint.size:
                if seen > ledger.size():
                    raise OldStoreError(ledger.size(), seen, where)
                raise WitnessError(url, f"it has cosigned {seen} entries meanwhile")
        elif status in (409, 422):
            raise ForkError(ledger.size(), seen, where)
        elif status == 404:
            raise WitnessError(url, f"it does not know the log {checkpoint.origin}")
        elif status == 403:
            raise WitnessError(url, "it does not know the key that signs this log")
        else:
            break
    raise WitnessError(url, f"it answered with status {status}: {answer[:200].decode(errors='replace').strip()}")


def _request(old: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> bytes:
    lines = [f"old {old}", *(base64.b64encode(item).decode() for item in proof)]
    return ("\n".join(lines) + "\n\n").encode() + checkpoint.encode()


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url.rstrip("/") + "/add-checkpoint", data=body, headers={"Content-Type": "text/plain"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return int(response.status), bytes(response.read(MAX_NOTE_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(MAX_NOTE_BYTES)
    except (OSError, ValueError) as error:
        raise WitnessError(url, f"it cannot be reached: {getattr(error, 'reason', error)}", hint=_UNREACHED) from error
