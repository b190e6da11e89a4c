"""Addresses of files that carry their own permission, because uploads send no credentials."""

import hashlib
import hmac
import time
from urllib.parse import quote, urlencode

#: How long an address works, in seconds. A file that waits in an upload queue needs hours.
LIFETIME_S = 24 * 3600


class Signer:
    """Signs and checks `method path expiry`.

    Args:
        secret: known to this server only.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def sign(self, method: str, path: str, expires: int) -> str:
        """The signature of one permission.

        Args:
            method: GET or PUT.
            path: of the address, not quoted.
            expires: Unix time in seconds.
        """
        text = f"{method}\n{path}\n{expires}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def allows(self, method: str, path: str, expires: int, signature: str) -> bool:
        """Whether a permission is genuine and not yet over.

        Args:
            method: GET or PUT.
            path: of the address, not quoted.
            expires: Unix time in seconds.
            signature: as the address carries it.
        """
        genuine = hmac.compare_digest(self.sign(method, path, expires).encode(), signature.encode())
        return genuine and time.time() < expires


class SignedUrls:
    """The addresses of files as one client reaches this server.

    Args:
        signer: signs them.
        base_url: without a slash at its end.
    """

    def __init__(self, signer: Signer, base_url: str) -> None:
        self._signer = signer
        self.base_url = base_url

    def download(self, key: str) -> str:
        """Where a blob is read.

        Args:
            key: of the blob.
        """
        return self._signed("GET", f"/storage/blobs/{key}")

    def upload(self, key: str) -> str:
        """Where a blob is written; only the bytes that have this key are taken.

        Args:
            key: of the blob.
        """
        return self._signed("PUT", f"/storage/blobs/{key}")

    def upload_run_file(self, file_id: int) -> str:
        """Where a file of a run is written, whatever its bytes are.

        Args:
            file_id: of the file's row.
        """
        return self._signed("PUT", f"/storage/run-files/{file_id}")

    def _signed(self, method: str, path: str) -> str:
        expires = int(time.time()) + LIFETIME_S
        query = urlencode(
            {"expires": expires, "signature": self._signer.sign(method, path, expires)}
        )
        return f"{self.base_url}{quote(path)}?{query}"
