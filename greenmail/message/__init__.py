"""RFC 5322 and MIME: pure functions over bytes."""
