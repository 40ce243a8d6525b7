"""Writes an OCI image layout of one program for several platforms.

The image is the program, CA roots where rustls looks for them, and /tmp. Nothing in it depends on
who builds it, when or where: owners, times and order in the archive are fixed.
"""

import argparse
import datetime
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile

# Nobody's: the number that distroless images use, and manifests/base asks for.
USER = 65532
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
# A fifth smaller than gzip; containerd, CRI-O, Podman and Docker read it.
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--revision", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True, help="bytes of a compressed platform")
    parser.add_argument("--roots", type=pathlib.Path, required=True)
    parser.add_argument("--program", action="append", required=True, metavar="ARCHITECTURE=FILE")
    return parser.parse_args()


class Layout:
    def __init__(self, root):
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        self.document("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def document(self, name, value):
        (self.root / name).write_bytes(as_json(value))

    def blob(self, media_type, content):
        """Stores it under its digest; returns its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.root / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def as_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def archive(entries, epoch):
    """A tar of (path, mode, content); a folder has no content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, mode, content in entries:
            entry = tarfile.TarInfo(path)
            entry.mode, entry.mtime = mode, epoch
            if content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


def compressed(content):
    # One thread: with several, where one block ends depends on them.
    return subprocess.run(["zstd", "-19", "--single-thread", "-qc"], input=content, stdout=subprocess.PIPE, check=True).stdout


def created(epoch):
    return datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def platform(layout, options, architecture, program):
    """Stores one platform; returns its descriptor and what a pull of it transfers."""
    labels = {
        "org.opencontainers.image.title": "depthgauge",
        "org.opencontainers.image.description": "External metrics API server for Kubernetes",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": options.version,
        "org.opencontainers.image.revision": options.revision,
        "org.opencontainers.image.created": created(options.epoch),
    }
    tar = archive(
        [
            ("depthgauge", 0o755, program.read_bytes()),
            ("etc/", 0o755, None),
            ("etc/ssl/", 0o755, None),
            ("etc/ssl/certs/", 0o755, None),
            ("etc/ssl/certs/ca-certificates.crt", 0o644, options.roots.read_bytes()),
            ("tmp/", 0o1777, None),
        ],
        options.epoch,
    )
    layer = layout.blob(LAYER, compressed(tar))
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": created(options.epoch),
        "config": {"User": f"{USER}:{USER}", "Entrypoint": ["/depthgauge"], "Cmd": ["serve"], "WorkingDir": "/", "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
        "history": [{"created": created(options.epoch), "created_by": "hack/image"}],
    }
    config = layout.blob(CONFIG, as_json(config))
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], "annotations": labels}
    manifest = layout.blob(MANIFEST, as_json(manifest))
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    return manifest, config["size"] + layer["size"]


def main():
    options = arguments()
    layout = Layout(options.output)
    manifests, too_large = [], False
    for architecture, program in (given.split("=", 1) for given in options.program):
        program = pathlib.Path(program)
        manifest, size = platform(layout, options, architecture, program)
        manifests.append(manifest)
        print(f"linux/{architecture}: {size / 1e6:.2f} MB compressed, program {program.stat().st_size / 2**20:.2f} MiB")
        too_large |= size > options.limit
    image = layout.blob(INDEX, as_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    print(f"depthgauge:{options.version}@{image['digest']} in {options.output}")
    image["annotations"] = {"org.opencontainers.image.ref.name": options.version}
    layout.document("index.json", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]})
    if too_large:
        sys.exit(f"over the limit of {options.limit / 1e6:.0f} MB")


main()
