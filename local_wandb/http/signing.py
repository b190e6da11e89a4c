"""Signed addresses of files, because the SDK's uploads send no credentials."""

import hashlib
import hmac
import time
from urllib.parse import quote, urlencode

#: Lifetime of an address, in seconds. A file may wait in an upload queue for hours.
LIFETIME_S = 24 * 3600


class Signer:
    """Signs and verifies ``method path expiry``.

    Args:
        secret: A text that only this server knows.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def sign(self, method: str, path: str, expires: int) -> str:
        """Return the signature of one address.

        Args:
            method: GET or PUT.
            path: The path of the address, not quoted.
            expires: Unix time in seconds.
        """
        text = f"{method}\n{path}\n{expires}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def allows(self, method: str, path: str, expires: int, signature: str) -> bool:
        """Return whether a signature is genuine and has not expired.

        Args:
            method: GET or PUT.
            path: The path of the address, not quoted.
            expires: Unix time in seconds.
            signature: The signature in the address.
        """
        genuine = hmac.compare_digest(self.sign(method, path, expires).encode(), signature.encode())
        return genuine and time.time() < expires


class SignedUrls:
    """Creates the addresses of files as one client reaches this server.

    Args:
        signer: Signs the addresses.
        base_url: The server's address, without a trailing slash.
    """

    def __init__(self, signer: Signer, base_url: str) -> None:
        self._signer = signer
        self.base_url = base_url

    def download(self, key: str) -> str:
        """Return the address at which a blob is read."""
        return self._signed("GET", f"/storage/blobs/{key}")

    def upload(self, key: str) -> str:
        """Return the address at which a blob is written; only bytes with this key are accepted."""
        return self._signed("PUT", f"/storage/blobs/{key}")

    def upload_run_file(self, file_id: int) -> str:
        """Return the address at which a file of a run is written, with any bytes.

        Args:
            file_id: The primary key of the file.
        """
        return self._signed("PUT", f"/storage/run-files/{file_id}")

    def _signed(self, method: str, path: str) -> str:
        expires = int(time.time()) + LIFETIME_S
        query = urlencode(
            {"expires": expires, "signature": self._signer.sign(method, path, expires)}
        )
        return f"{self.base_url}{quote(path)}?{query}"
