"""Where a video comes from: tags in the file, a sidecar to make it again, and a signed C2PA manifest.

Nothing that goes into the video itself names a folder or a file of its maker.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import EmoTalkError, InputError, UsageError
from . import ffmpeg
from .files import check_input, sha256, write_error
from .formats import is_film

FORMAT = 1  # of sidecars
MAX_SIDECAR = 1 << 20  # bytes
# IPTC's term for what is partly recorded and partly generated, as C2PA uses it
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_SHORT = 12  # hex digits of a hash in the tags


def fingerprint(values: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def environment(device: str, clip: bool) -> dict[str, str | int]:
    """What else may decide the last bit: versions, processor, threads. clip: whether open_clip's towers are used."""
    import torch

    names = ["numpy", "pillow"] + ["open_clip_torch"] * clip
    packages = {name: _version(name) for name in names}
    described: dict[str, str | int] = {"python": platform.python_version(), "torch": torch.__version__, **packages}
    described |= {"ffmpeg": ffmpeg.version(), "system": f"{sys.platform} {platform.machine()}"}
    described |= {"device": device, "threads": torch.get_num_threads()}
    if device == "cpu":
        described["cpu"] = torch.backends.cpu.get_cpu_capability()
    elif device.startswith("cuda"):
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def sidecar_path(out: Path) -> Path:
    """`<out>.json`; the name is cut where it would be too long for a file name."""
    name = os.fsencode(out.name)
    return out.parent / os.fsdecode(name[: 255 - len(".json")] + b".json")


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """All that is needed to make a video again, bit for bit on the same machine.

    inputs: option -> (path, or None if it was no file; SHA-256). options: the others that shape the video.
    output: SHA-256 of the file before it was signed. weights: file name -> SHA-256. environment: see there.
    """

    path: Path
    inputs: dict[str, tuple[Path | None, str]]
    options: dict[str, Any]
    output: str
    weights: dict[str, str]
    environment: dict[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Sidecar:
        """Raises InputError if the file is none, or is of a later EmoTalk."""
        file = check_input(path, "sidecar")
        wrong = InputError(f"{file} is no sidecar of EmoTalk; give the .json file that was written beside a video.")
        if file.stat().st_size > MAX_SIDECAR:
            raise wrong
        try:
            held = json.loads(file.read_bytes())
            if held["sidecar"] != FORMAT:
                other = str(held["emotalk"])[:40]
                raise InputError(f"{file} was written by another version of EmoTalk ({other}); use that one.")
            inputs = {
                name: (None if made["path"] is None else file.parent / _plain_path(made["path"]), str(made["sha256"]))
                for name, made in held["inputs"].items()
            }
            options, output, weights = dict(held["options"]), held["output"]["unsigned_sha256"], dict(held["weights"])
            return cls(file, inputs, options, output, weights, dict(held["environment"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise wrong from error

    def input(self, name: str) -> Path:
        """The file given as option `name`. Raises InputError if it is missing or has changed."""
        path, digest = self.inputs[name]
        option = f"--{name.replace('_', '-')}"
        if path is None:
            raise InputError(f"{self.path.name}: what {option} was is in no file; save it and give it as {option}.")
        if sha256(check_input(path, f"file of {option}")) != digest:
            raise InputError(f"{path} has changed since {self.path.name} was written; restore it, or give {option}.")
        return path

    def differences(self, weights: dict[str, str], device: str) -> list[str]:
        """What is not as it was when the sidecar was written, one sentence each."""
        notes = [f"{name} is another version." for name in weights if weights[name] != self.weights.get(name)]
        now = environment(device, "clip" in self.options)
        for name in sorted(now):
            if now[name] != self.environment.get(name):
                notes.append(f"{name}: now {now[name]}, then {str(self.environment.get(name))[:60]}.")
        return notes


class Signer:
    """Signs finished videos with a C2PA manifest (the extra `provenance`).

    certificate, key: PEM files, the chain from the signer's own certificate up and its private key; without them a
    certificate made on the spot, which says that it is a test and which nobody trusts. Raises UsageError, InputError.
    """

    def __init__(
        self, certificate: str | os.PathLike[str] | None = None, key: str | os.PathLike[str] | None = None
    ) -> None:
        if (certificate is None) != (key is None):
            raise UsageError("--c2pa-cert and --c2pa-key belong together; give both or neither.")
        try:
            import c2pa
            from cryptography.hazmat.primitives import serialization
        except ImportError as error:
            raise UsageError("--c2pa needs the extra provenance; pip install 'emotalk[provenance]'.") from error
        self.test = certificate is None
        if certificate is None or key is None:
            chain, pem = _test_certificate()
        else:
            chain = check_input(certificate, "certificate").read_bytes()
            pem = check_input(key, "private key").read_bytes()
        try:
            private = serialization.load_pem_private_key(pem, None)
            self._signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(_algorithm(private), chain, pem, None))
        except (ValueError, TypeError, c2pa.C2paError) as error:
            raise InputError(
                f"{certificate} and {key} do not make a C2PA signer; give PEM files, the key without a password."
            ) from error

    def sign(self, video: Path, title: str, options: dict[str, Any], weights: dict[str, str]) -> None:
        """Replace the file by a signed one, checked by reading it back. Raises EmoTalkError."""
        import c2pa

        action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        shown = {name: value for name, value in options.items() if name != "weights"}
        manifest = {
            "claim_generator_info": [{"name": "EmoTalk", "version": __version__}],
            "title": title,
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
                {"label": "org.emotalk.settings", "data": {"options": shown, "weights": weights, "test": self.test}},
            ],
        }
        signed = video.with_name(video.name + ".signed.part")
        try:
            with open(video, "rb") as source, open(signed, "w+b") as target:
                c2pa.Builder(json.dumps(manifest)).sign(self._signer, _mime(video), source, target)
            state = manifest_of(signed).get("validation_state")
            if state == "Invalid":
                raise EmoTalkError("The C2PA manifest does not verify; check the certificate, or leave out --c2pa.")
            os.replace(signed, video)
        except (OSError, c2pa.C2paError) as error:
            raise EmoTalkError(f"The video cannot be signed ({error}); check the certificate and its key.") from error
        finally:
            signed.unlink(missing_ok=True)


@dataclasses.dataclass
class Record:
    """What is written down about one video while it is made.

    inputs, options, weights: as in `Sidecar`; options that name an input are left out. video: facts about the file;
    `finish` adds sha256 and unsigned_sha256, which are "" for what is no single file.
    """

    out: Path
    inputs: dict[str, tuple[Path | None, str]]
    options: dict[str, Any]
    weights: dict[str, str]
    device: str
    video: dict[str, Any]
    signer: Signer | None = None

    def __post_init__(self) -> None:
        self.options = {name: value for name, value in self.options.items() if name not in self.inputs}

    def tags(self, emotion: str) -> dict[str, str]:
        """Metadata for the container: the tool, that the video is synthetic, how it was made. emotion: to be shown."""
        made = {"tool": f"EmoTalk {__version__}", "synthetic": True, "digitalSourceType": SOURCE_TYPE}
        made |= {"emotion": emotion} | {name: self.options[name] for name in ("intensity", "seed", "generator")}
        made["weights"] = {Path(name).stem: digest[:_SHORT] for name, digest in sorted(self.weights.items())}
        made |= {"syntheticVoice": self.options["voice"]} if "voice" in self.options else {}
        voice = " with a synthetic voice" if "voice" in self.options else ""
        comment = f"Synthetic video{voice} made by EmoTalk {__version__} (AI-generated)"
        return {"comment": comment, "description": json.dumps(made)}

    def key(self) -> str:
        """Hash of all that decides the frames."""
        inputs = {name: digest for name, (_, digest) in self.inputs.items()}
        return fingerprint([__version__, inputs, self.options, self.weights, self._environment(), self.video])

    def _environment(self) -> dict[str, str | int]:
        return environment(self.device, "clip" in self.options)

    def finish(self, path: Path, sidecar: Path | None) -> None:
        """Sign the complete file `path` before it gets its name, and write the sidecar. Raises EmoTalkError."""
        self.check()
        self.video["unsigned_sha256"] = self.video["sha256"] = sha256(path)
        if self.signer is not None:
            self.signer.sign(path, self.out.name, self.options, self.weights)
            self.video["sha256"] = sha256(path)
        if sidecar is not None:
            try:
                sidecar.write_text(self._sidecar())
            except OSError as error:
                raise write_error(sidecar_path(self.out), error.strerror) from error

    def check(self) -> None:
        """Raise InputError if a file that was used is not what it was when it was first read."""
        for name in _USED_TWICE:
            path, digest = self.inputs.get(name, (None, ""))
            if path is None or (name == "face" and not is_film(path)):
                continue
            try:
                same = sha256(path) == digest
            except OSError:
                same = False
            if not same:
                raise InputError(
                    f"{path} changed while the video was made; make it again, and leave it alone meanwhile."
                )

    def _sidecar(self) -> str:
        folder = os.path.realpath(self.out.parent)  # paths are seen from there, so that all can move together
        files = {
            name: {"path": path and os.path.relpath(os.path.realpath(path), folder), "sha256": digest}
            for name, (path, digest) in self.inputs.items()
        }
        held = {"sidecar": FORMAT, "emotalk": __version__, "synthetic": True, "digitalSourceType": SOURCE_TYPE}
        held |= {"output": {"file": self.out.name, **self.video}, "inputs": files, "options": self.options}
        held |= {"weights": self.weights, "environment": self._environment()}
        return json.dumps(held, indent=1) + "\n"


def manifest_of(video: str | os.PathLike[str]) -> dict[str, Any]:
    """The C2PA manifests in a video as plain values, with `validation_state`: Invalid | Valid | Trusted."""
    import c2pa

    with open(video, "rb") as file, contextlib.closing(c2pa.Reader(_mime(Path(video)), file)) as reader:
        held: dict[str, Any] = json.loads(reader.json())
        return held | {"validation_state": reader.get_validation_state()}


_USED_TWICE = ("face", "audio", "motion", "pose")  # read once for the motion, and again for the frames or the sound


def _plain_path(text: Any) -> str:
    if not isinstance(text, str) or "\0" in text:
        raise ValueError("no path")
    return text


def _mime(video: Path) -> str:
    return "video/quicktime" if ".mov" in video.suffixes else "video/mp4"


def _algorithm(key: Any) -> str:
    """C2PA's name of the signature that a private key makes."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {256: "es256", 384: "es384", 521: "es512"}[key.curve.key_size]
    raise ValueError("no key of a kind that C2PA allows")


def _test_certificate() -> tuple[bytes, bytes]:
    """PEM chain and key of a certificate that calls itself a test, good for a month."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.timezone.utc)
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def name(common: str) -> x509.Name:
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "EmoTalk TEST certificate, not trusted")
        return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def certificate(common: str, key: ec.EllipticCurvePrivateKey, root: bool) -> bytes:
        usage = {name: False for name in (
            "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
            "decipher_only",
        )}  # fmt: skip
        usage |= {"digital_signature": not root, "key_cert_sign": root, "crl_sign": root}
        public = key.public_key()
        made = x509.CertificateBuilder(name("Test root"), name(common), public, x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=1))
        made = made.not_valid_after(now + datetime.timedelta(days=30))
        made = made.add_extension(x509.BasicConstraints(root, None), True)
        made = made.add_extension(x509.KeyUsage(**usage), True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
        made = made.add_extension(issuer, False)
        if not root:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    chain = certificate("Test signer", own, False) + certificate("Test root", authority, True)
    pem = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return chain, pem
