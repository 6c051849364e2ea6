"""Why a TLS connection failed, with the way out."""

import ssl

from dropsight.sinks.dialling import dial
from dropsight.sinks.mqtt.broker import Broker

ALERT_SECONDS = 3.0
# X509_V_ERR numbers of OpenSSL (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED, _HOST_MISMATCH, _ADDRESS_MISMATCH = 9, 10, 62, 64
_UNTRUSTED = "name the authority that signed it in mqtt.tls.ca"
_WAYS_OUT = {
    _NOT_YET_VALID: "set the clock of this machine",
    _EXPIRED: "renew it, or set the clock of this machine",
    _HOST_MISMATCH: "name the broker in mqtt.url as its certificate does",
    _ADDRESS_MISMATCH: "name the broker in mqtt.url as its certificate does",
}
HUNG_UP = "it closed the connection at once; see the scheme and the port of mqtt.url"
# Parts of OpenSSL's names of the alerts by which a broker refuses us (RFC 8446, 6.2), the most telling first.
_ALERTS = {
    "CERTIFICATE_REQUIRED": "it requires a client certificate; give mqtt.tls.cert and mqtt.tls.key",
    "CERTIFICATE_EXPIRED": "it reports that our certificate has expired; renew mqtt.tls.cert",
    "CERTIFICATE_REVOKED": "it reports that our certificate is revoked; renew mqtt.tls.cert",
    "UNKNOWN_CA": "it does not trust the authority of our certificate; see mqtt.tls.cert",
    "BAD_CERTIFICATE": "it rejects our certificate; see mqtt.tls.cert",
    "HANDSHAKE_FAILURE": "the TLS handshake failed, maybe for want of a certificate; see mqtt.tls.cert",
    "WRONG_VERSION_NUMBER": "it does not use TLS; see the scheme and the port of mqtt.url",
    "UNEXPECTED_EOF": HUNG_UP,
}


def reason(error: Exception) -> str:
    """Say why a connection could not be opened."""
    if isinstance(error, ssl.SSLCertVerificationError):
        way_out = _WAYS_OUT.get(error.verify_code, _UNTRUSTED)
        return f"its certificate is not trusted: {error.verify_message}; {way_out}"
    if isinstance(error, ConnectionResetError):
        return HUNG_UP
    text = str(getattr(error, "strerror", None) or error)
    return _meaning(text) or text


def alert_of(broker: Broker) -> str | None:
    """Connect, say nothing, and listen for the alert by which the broker refuses us; None without one.

    A client of TLS 1.3 has shaken hands before it is judged; and where it has spoken by then, the broker's
    hanging up takes its alert along.
    """
    if broker.tls is None:
        return None
    try:
        with (
            dial(broker.host, broker.port, seconds=ALERT_SECONDS) as plain,
            broker.tls.wrap_socket(plain, server_hostname=broker.host) as encrypted,
        ):
            encrypted.recv(1)
    except OSError as error:  # of which SSLError and a timeout are some
        return _meaning(str(error))
    return None


def _meaning(text: str) -> str | None:
    told = text.upper().replace(" ", "_")
    return next((words for name, words in _ALERTS.items() if name in told), None)
