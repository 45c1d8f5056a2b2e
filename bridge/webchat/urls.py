"""Where the endpoints of one WebChat server are, and what its relative addresses mean.

One setting, the base address (`https://host/webchat`), gives all the others (protocol reference 0,
3.3, 3.4, 3.9). Nothing here is fetched.
"""

import re
from urllib.parse import quote, urlsplit

_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)


class Endpoints:
    """The addresses of one server.

    Args:
        base_url: `http(s)://host[:port][/context]`, with or without a slash at the end.

    Raises:
        ValueError: with a sentence for the operator; it does not repeat the address, which may
            hold a password.
    """

    def __init__(self, base_url: str) -> None:
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise ValueError("base_url is not an address: check brackets and port") from None
        if parts.scheme not in {"http", "https"}:
            raise ValueError("base_url must start with http:// or https://")
        if not parts.hostname:
            raise ValueError("base_url names no host")
        if port == 0:
            raise ValueError("base_url has port 0")
        if parts.username is not None or parts.password is not None:
            raise ValueError("base_url must not hold a user name or password")
        if "?" in base_url or "#" in base_url:
            raise ValueError("base_url must not have a query (?) or a fragment (#)")
        if any(char.isspace() or not char.isprintable() for char in base_url):
            raise ValueError("base_url must not have spaces or control characters")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        """Scheme, host and port."""
        self._scheme = parts.scheme
        self._context = parts.path.rstrip("/")
        self._base = self.origin + self._context

    @property
    def login(self) -> str:
        return f"{self._base}/tpi"

    @property
    def robot(self) -> str:
        return f"{self._base}/robotSearch"

    def upload(self, token: str) -> str:
        """A secret: it holds the token."""
        return f"{self._base}/tpiu?token={quote(token, safe='')}"

    def socket(self, token: str) -> str:
        """A secret: it holds the token."""
        return f"ws{self._base.removeprefix('http')}/cws?token={quote(token, safe='')}"

    def absolute(self, url: str) -> str:
        """What the server means by `url` (reference 3.4); "" stays "".

        The guide's example already holds the context path, the vendor's sibling guide has it
        prepended: so a path that begins with it goes to the origin, any other to the base address.
        """
        if not url or _ABSOLUTE.match(url):
            return url
        if url.startswith("//"):
            return f"{self._scheme}:{url}"
        if url.startswith(f"{self._context}/"):
            return self.origin + url
        return self._base + (url if url.startswith("/") else f"/{url}")

    def icon(self, icon: str, queue_id: int | None) -> str:
        """The address of an agent's picture (reference 3.9), or "" if there is none.

        Args:
            icon: as the server wrote it: absolute, or a path that `ngsIcon.do` understands.
            queue_id: left out of the address when None.
        """
        if not icon.strip() or _ABSOLUTE.match(icon):
            return icon.strip()
        # `%` stays: some servers hand out paths that are encoded already.
        path = quote(icon.strip(), safe="/%", errors="replace")
        queue = "" if queue_id is None else f"&queue={queue_id}"
        return f"{self._base}/ngsIcon.do?path={path}{queue}"
