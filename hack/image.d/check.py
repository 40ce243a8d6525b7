"""Checks an OCI image layout by what is written in it, as whoever pulls it gets it.

Arguments: the layout; its version; the Deployment, whose user has to be the image's; what runs
programs of other architectures here, as ARCHITECTURE=PROGRAM. As root the programs run with the
unpacked layer as their root and as the image's user, else from where it is unpacked.
"""

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
# All that there is: the program, CA roots where rustls looks for them, and where anybody may write.
ROOTS = "etc/ssl/certs/ca-certificates.crt"
MODES = {"depthgauge": 0o755, "etc": 0o755, "etc/ssl": 0o755, "etc/ssl/certs": 0o755, ROOTS: 0o644, "tmp": 0o1777}
# e_machine of ELF.
MACHINES = {"amd64": 62, "arm64": 183}
# As in a container; chroot is not for everybody.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
DEPTHGAUGE_CONFIG = """\
apiVersion: depthgauge.dev/v1alpha1
kind: Config
oci: {auth: {type: instancePrincipal}}
sources: [{type: oci-queue, name: orders, queueId: ocid1.queue.oc1.eu-frankfurt-1.aaaa, namespaces: ["*"]}]
"""


def same(what, found, wanted):
    if found != wanted:
        sys.exit(f"check.py: {what} is {found!r}, not {wanted!r}")


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Layout:
    def __init__(self, root):
        self.root = root
        self.seen = set()
        same("oci-layout", self.document("oci-layout"), {"imageLayoutVersion": "1.0.0"})

    def document(self, name):
        return json.loads((self.root / name).read_bytes())

    def blob(self, descriptor, media_type):
        """What a descriptor leads to, and is."""
        name = descriptor["digest"]
        same(f"media type of {name}", descriptor["mediaType"], media_type)
        path = self.root / "blobs" / name.replace(":", "/")
        if not path.is_file():
            sys.exit(f"check.py: blob {name} is missing")
        content = path.read_bytes()
        same(f"digest of blob {name}", digest(content), name)
        same(f"size of blob {name}", len(content), descriptor["size"])
        self.seen.add(str(path))
        return content


def one(what, found):
    same(f"number of {what}", len(found), 1)
    return found[0]


def unpack(layer, root):
    """Makes the files of a tar of files and folders; returns their modes."""
    modes = {}
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for entry in tar:
            # Before it is written: nothing leads out of the root.
            if entry.name not in MODES or not (entry.isfile() or entry.isdir()):
                sys.exit(f"check.py: {entry.name} has no place in the layer")
            same(f"owner of {entry.name}", (entry.uid, entry.gid), (0, 0))
            path = root / entry.name
            if entry.isdir():
                path.mkdir()
            else:
                path.write_bytes(tar.extractfile(entry).read())
            path.chmod(entry.mode)
            modes[entry.name] = entry.mode
    return modes


def readable(modes):
    return [f"{mode:04o} {name}" for name, mode in modes.items()]


def roots_in(path):
    """How many CAs are in a file, all of which have to be good."""
    text = path.read_text()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=text)
    # The latter if there is nothing in it.
    except (ssl.SSLError, ValueError) as error:
        sys.exit(f"check.py: {ROOTS}: {error}")
    known = context.cert_store_stats()["x509_ca"]
    same(f"number of CAs in {ROOTS}", known, text.count("-----BEGIN CERTIFICATE-----"))
    return known


def is_for(program, architecture):
    content = program.read_bytes()
    same("the program's magic", content[:4], b"\x7fELF")
    same("the program's machine", int.from_bytes(content[18:20], "little"), MACHINES[architecture])
    if "INTERP" in output("readelf", ["readelf", "-lW", program]):
        sys.exit(f"check.py: the program for {architecture} wants a loader: it is not static")
    # Paths of this machine would be in the way of a second build's digest.
    if os.fsencode(os.path.expanduser("~/")) in content:
        sys.exit(f"check.py: the program for {architecture} names folders of this machine")


def output(what, command):
    try:
        done = subprocess.run(command, env={"PATH": PATH}, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        sys.exit(f"check.py: {what} has not ended after a minute")
    if done.returncode != 0:
        sys.exit(f"check.py: {what} ended with {done.returncode}: {(done.stderr + done.stdout)[-2000:]}")
    return done.stdout


def runs(root, config, emulator, version):
    """What a user does first, by the image's entry point and as its user."""
    within, command = root, []
    if os.geteuid() == 0:
        within = pathlib.Path("/")
        command = ["chroot", "--userspec", config["User"], "--groups=", root]
    if emulator:
        shutil.copy(emulator, root / "emulator")
        (root / "emulator").chmod(0o755)
        command.append(within / "emulator")
    command += [within / config["Entrypoint"][0].removeprefix("/"), *config["Entrypoint"][1:]]
    (root / "tmp/config.yaml").write_text(DEPTHGAUGE_CONFIG)
    (root / "tmp/config.yaml").chmod(0o644)
    same("--version", output("--version", [*command, "--version"]), f"depthgauge {version}\n")
    output("config check", [*command, "config", "check", within / "tmp/config.yaml"])
    output("demo", [*command, "demo", "--for", "5s"])


def platform(layout, descriptor, root, version, user, emulators):
    architecture = descriptor["platform"]["architecture"]
    manifest = json.loads(layout.blob(descriptor, MANIFEST))
    same("manifest's media type", manifest["mediaType"], MANIFEST)
    config = json.loads(layout.blob(manifest["config"], CONFIG))
    same("platform", descriptor["platform"], {"architecture": config["architecture"], "os": config["os"]})
    compressed = layout.blob(one("layers", manifest["layers"]), LAYER)
    layer = subprocess.run(["zstd", "-dqc"], input=compressed, stdout=subprocess.PIPE, check=True).stdout
    same("rootfs", config["rootfs"], {"type": "layers", "diff_ids": [digest(layer)]})
    run = config["config"]
    same("User", run["User"], user)
    same("Entrypoint, Cmd and WorkingDir", (run["Entrypoint"], run["Cmd"], run["WorkingDir"]), (["/depthgauge"], ["serve"], "/"))
    same("version in the labels", run["Labels"]["org.opencontainers.image.version"], version)
    same("annotations", manifest["annotations"], run["Labels"])

    root.mkdir()
    # Whatever the umask is: the image's user has to get in.
    root.chmod(0o755)
    same("what is in the layer", readable(unpack(layer, root)), readable(MODES))
    known = roots_in(root / ROOTS)
    is_for(root / "depthgauge", architecture)
    runs(root, run, emulators.get(architecture), version)
    print(f"linux/{architecture}: as described, {known} CAs, runs as {run['User'] if os.geteuid() == 0 else 'whoever asks'}")


def main():
    path, version, deployment, *emulators = sys.argv[1:]
    # Who the pods are.
    pods = re.findall(r"^ +runAs(?:User|Group): (\d+)$", pathlib.Path(deployment).read_text(), re.MULTILINE)
    same("number of runAsUser and runAsGroup", len(pods), 2)
    emulators = dict(each.split("=", 1) for each in emulators)
    layout = Layout(pathlib.Path(path))
    image = one("images", layout.document("index.json")["manifests"])
    same("name of the image", image["annotations"]["org.opencontainers.image.ref.name"], version)
    manifests = json.loads(layout.blob(image, INDEX))["manifests"]
    same("architectures", sorted(each["platform"]["architecture"] for each in manifests), sorted(MACHINES))
    with tempfile.TemporaryDirectory() as folder:
        for descriptor in manifests:
            root = pathlib.Path(folder) / descriptor["platform"]["architecture"]
            platform(layout, descriptor, root, version, ":".join(pods), emulators)
    blobs = {str(path) for path in (layout.root / "blobs/sha256").iterdir()}
    same("what no descriptor leads to", sorted(blobs - layout.seen), [])


main()
