"""Settings of certificates and tokens, and what they ask of each other."""

import pytest

from greenmail.config import from_mapping, load
from greenmail.config_tables import ConfigError

ISSUER = {"oauth-issuer": "https://id/", "oauth-audience": "mail"}
KEYS = {"oauth-jwks-url": "https://id/keys"}


@pytest.mark.parametrize("value, expected", [(False, "off"), ("off", "off"), ("optional", "optional")])
def test_off_is_a_word(value, expected):
    """YAML's `off` is a truth value."""
    config = from_mapping({"tls-client-certificate": value, "client-ca-path": "/ca.pem"})
    assert config.tls_client_certificate == expected


@pytest.mark.parametrize(
    "url",
    ["", "https://id.example.org/x?y=z", "https://[2001:db8::1]:8443/", "http://127.0.0.1:8080/k", "http://[::1]/k"],
)
def test_web_addresses(url):
    assert from_mapping({**ISSUER, "oauth-introspection-url": url} if url else {}).oauth_introspection_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.org/", "http://localhost/", "http://10.0.0.1/", "ftp://id/", "file:///etc/passwd",
        "id.example.org",
        "https://", "https:///keys", "https://id:0/", "https://id:port/", "https://id:99999/", "https://[::1/",
        7, ["https://id"],
        "http://127.0.0.1.evil.org/", "https://id/\n",
    ],
)  # fmt: skip
def test_what_is_no_web_address(url):
    with pytest.raises(ConfigError, match="oauth-introspection-url: found"):
        from_mapping({"oauth-introspection-url": url})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {**ISSUER, **KEYS},
        {**ISSUER, "oauth-jwks-file": "/keys", "oauth-algorithms": ["HS256"]},
        {**ISSUER, "oauth-openid-configuration": "https://id/conf"},
        {**ISSUER, **KEYS, "oauth-openid-configuration": "https://id/conf"},
        {"oauth-introspection-url": "https://id/i"},
        {"oauth-introspection-url": "https://id/i", "oauth-openid-configuration": "https://id/conf"},
        {"tls-client-certificate": "required", "client-keys-file": "/keys"},
    ],
)
def test_what_goes_together(settings):
    from_mapping(settings)


@pytest.mark.parametrize(
    "settings, key, text",
    [
        ({"tls-client-certificate": "optional"}, "tls-client-certificate", "no certificate is good"),
        ({**KEYS, "oauth-issuer": "https://id/"}, "oauth-jwks-url", "oauth-audience is not"),
        ({**KEYS, "oauth-audience": "mail"}, "oauth-jwks-url", "oauth-issuer is not"),
        ({"oauth-openid-configuration": "https://id/conf"}, "oauth-openid-configuration", "oauth-issuer is not"),
        ({**ISSUER}, "oauth-issuer", "not how to tell whether a token is good"),
        ({**ISSUER, **KEYS, "oauth-jwks-file": "/keys"}, "oauth-jwks-url", "remove one"),
        (
            {**ISSUER, **KEYS, "oauth-introspection-url": "https://id/i"},
            "oauth-introspection-url",
            "the one or the other",
        ),
        ({**ISSUER, **KEYS, "oauth-algorithms": ["HS256"]}, "oauth-algorithms", "only an oauth-jwks-file"),
        ({"oauth-client-secret-file": "/s"}, "oauth-client-secret-file", "oauth-client-id is not"),
        ({"oauth-algorithms": ["none"]}, "oauth-algorithms", "allowed: a list of some of RS256"),
        ({"oauth-algorithms": []}, "oauth-algorithms", "allowed"),
        ({"client-certificate-user": "email"}, "client-certificate-user", "one of rfc822name, dnsname, upn, cn"),
    ],
)
def test_what_does_not(settings, key, text):
    with pytest.raises(ConfigError) as caught:
        from_mapping(settings)
    assert any(problem.key == key and text in problem.text for problem in caught.value.problems), caught.value


def test_paths_begin_at_the_directory_of_the_file(tmp_path):
    fields = ["client-ca-path", "client-crl-path", "client-keys-file", "oauth-jwks-file", "oauth-ca-path"]
    text = "".join(f"{name}: some/{name}\n" for name in fields)
    text += "oauth-client-id: x\noauth-client-secret-file: some/secret\n"
    (tmp_path / "imap.yaml").write_text(text + "oauth-issuer: i\noauth-audience: a\n")
    config = load(str(tmp_path / "imap.yaml"))
    for name in (*fields, "oauth-client-secret-file"):
        assert getattr(config, name.replace("-", "_")).startswith(f"{tmp_path}/some/")
