"""Signed snapshots: who vouches for a version, in a way that only they could have.

A snapshot's ID is a hash over its data, its history and its author, so who signs the ID signs all
of it. Signatures are Ed25519, made with the OpenSSH key that its owner has already, and lie beside
the snapshots, which know nothing of them:

    signatures/SNAPSHOT     the signatures of one snapshot (see `signatures`)
    signers.json            whose keys are trusted, and under which name (see `trusted`)

A name is believed only of a trusted key: what a signature says of itself is a claim. Who may write
`signers.json` decides who is trusted; where that may be anybody, $DATASNAP_SIGNERS names a file of
one's own that is asked instead.

`cryptography` does the arithmetic, is an extra, and is imported only in `keys`, when needed.
"""

from datasnap.signing.signatures import SignatureStatus, check_signatures, require
from datasnap.signing.signer import Signer

__all__ = ["SignatureStatus", "Signer", "check_signatures", "require"]
