"""Every kind of file that a configuration names is watched: keys of issuers, lists of revoked certificates, authorities of upstreams."""

import base64
import datetime
import http.server
import json
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from harness import http1, secrets
from harness.azure import Azure, iris_of
from harness.files import LIVE, replace
from harness.pki import Pki
from harness.until import until
from harness.upstream import Upstream


@pytest.fixture
def service(service_key):
    with Upstream(service_key.read_text().strip()) as upstream:
        yield upstream


def status(port, headers=(), tls=None, path="/score"):
    """None where no connection comes about, or it ends without an answer."""
    try:
        with http1.Connection(port, tls) as connection:
            return connection.request("POST", path, list(headers), b"x").status
    except (ssl.SSLError, OSError, http1.Closed):
        return None


# ---- keys of an issuer ----


def encoded(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    def __init__(self, kid):
        self.kid, self.key = kid, ec.generate_private_key(ec.SECP256R1())

    def jwk(self):
        numbers = self.key.public_key().public_numbers()
        x, y = (encoded(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y}

    def token(self):
        claims = {"iss": "https://issuer.example", "aud": "models", "exp": int(time.time()) + 600, "sub": "somebody"}
        signed = f'{encoded({"alg": "ES256", "kid": self.kid})}.{encoded(claims)}'
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def test_a_key_that_leaves_the_file_of_an_issuer_is_refused_on_a_live_connection(tmp_path, service, config, gate):
    old, new = Signer("old"), Signer("new")
    keys = tmp_path / "jwks.json"
    replace(keys, json.dumps({"keys": [old.jwk()]}))
    settings = config(service.url())
    settings["callers"]["team"] = {"jwt": {"issuer": "https://issuer.example", "audience": "models", "jwks_file": str(keys)}}
    running = gate(settings)
    shown = {signer.kid: [("authorization", f"Bearer {signer.token()}")] for signer in (old, new)}
    with http1.Connection(running.port()) as connection:

        def ask(kid):
            return connection.request("POST", "/score", shown[kid], b"x").status

        assert (ask("old"), ask("new")) == (200, 401)
        replace(keys, json.dumps({"keys": [old.jwk(), new.jwk()]}))
        until(lambda: ask("new") == 200, "the new key is taken", LIVE)
        assert ask("old") == 200
        # Half a file is no set of keys: the last good one stays.
        replace(keys, json.dumps({"keys": [new.jwk()]})[:-40])
        until(lambda: running.status()["last_reload"]["result"] != "ok", "half a file is refused", LIVE)
        assert (ask("old"), ask("new")) == (200, 200)
        replace(keys, json.dumps({"keys": [new.jwk()]}))
        until(lambda: ask("old") == 401, "the old key is refused", LIVE)
        assert ask("new") == 200


# ---- revoked certificates ----


class Clients:
    """An authority of clients, and its list of those that it has taken back."""

    def __init__(self):
        self.key, self.name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "clients")])
        self.now = datetime.datetime.now(datetime.timezone.utc)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.cert = (self.builder(self.name, self.key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                     .add_extension(usage, critical=True).sign(self.key, hashes.SHA256()))

    def builder(self, subject, key):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(self.now - datetime.timedelta(hours=1))
                .not_valid_after(self.now + datetime.timedelta(days=1)))

    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def client(self, folder, uri):
        key = ec.generate_private_key(ec.SECP256R1())
        cert = (self.builder(x509.Name([]), key)
                .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
                .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
                .sign(self.key, hashes.SHA256()))
        path = folder / "client.pem"
        path.write_bytes(cert.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return cert, path

    def revoked(self, *certs):
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(self.now)
                   .next_update(self.now + datetime.timedelta(days=1))
                   .add_extension(x509.CRLNumber(1), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False))
        for cert in certs:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(cert.serial_number).revocation_date(self.now).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_certificate_in_the_file_of_revoked_ones_is_refused_on_a_live_connection(tmp_path, service, config, gate, pki):
    clients = Clients()
    revoked, believed = tmp_path / "clients.crl", tmp_path / "clients.pem"
    replace(revoked, clients.revoked())
    replace(believed, clients.pem())
    cert, identity = clients.client(tmp_path, "spiffe://prod/web")
    settings = config(service.url())
    settings["listeners"][1]["tls"] |= {"client_ca": str(believed), "client_auth": "optional", "client_crl": str(revoked)}
    settings["callers"]["team"] = {"mtls": {"san": ["spiffe://prod/*"]}}
    running = gate(settings)
    context = pki.client()
    context.load_cert_chain(identity)
    with http1.Connection(running.port("tls"), context) as connection:

        def ask():
            return connection.request("POST", "/score", [], b"x").status

        assert ask() == 200
        replace(revoked, clients.revoked(cert))
        until(lambda: ask() == 401, "it is refused on the connection that is open", LIVE)
    assert status(running.port("tls"), tls=context) is None, "and at the next handshake"
    replace(revoked, clients.revoked())
    until(lambda: status(running.port("tls"), tls=context) == 200, "and let in again", LIVE)


# ---- authorities of an upstream ----


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_an_authority_of_an_upstream_is_believed_as_soon_as_its_file_says_so(tmp_path, config, gate, pki, caller_key, tmp_path_factory):
    stranger = Pki(tmp_path_factory.mktemp("stranger"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.cert, pki.key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        believed = tmp_path / "upstream-ca.pem"
        replace(believed, stranger.ca.read_bytes())
        settings = config(f"https://localhost:{server.server_address[1]}/score")
        settings["endpoints"]["model"]["upstream"] = {"tls": {"ca": str(believed)}}
        running = gate(settings)
        headers = [("authorization", f"Bearer {caller_key}")]
        assert status(running.port(), headers) == 502
        replace(believed, pki.ca.read_bytes())
        until(lambda: status(running.port(), headers) == 200, "the authority is believed", LIVE)
        replace(believed, stranger.ca.read_bytes())
        until(lambda: status(running.port(), headers) == 502, "and no longer", LIVE)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ---- the secret of an identity ----


def test_an_identity_is_somebody_as_soon_as_its_secrets_file_says_so(tmp_path, gate, caller_key):
    with Azure(tmp_path / "azure", learn_lag=(0, 0, 0), operation=0) as azure:
        settings = azure.config(tmp_path, caller_key, [{"match": {"path_prefix": "/"}}], {"enabled": False})
        settings["listeners"] = [{"name": "local", "address": "127.0.0.1:0"}]
        principal = tmp_path / "principal"
        replace(principal, secrets.key())
        running = gate(settings)
        headers = [("authorization", f"Bearer {caller_key}")]
        until(lambda: "7000215" in json.dumps(iris_of(running)), "the identity provider refuses the secret")
        assert status(running.port(), headers) == 503
        replace(principal, azure.secret)
        # The file is seen within two seconds; then it signs in and finds the service.
        until(lambda: status(running.port(), headers, path="/echo") == 200, "the service is found with the right one", LIVE + 8)
