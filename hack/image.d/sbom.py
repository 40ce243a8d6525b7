"""CycloneDX of the crates that are linked into the program, from `cargo metadata` on stdin.

Argument: when it was made, in seconds since 1970.
"""

import datetime
import json
import sys


def linked(metadata):
    """The ids of all packages that the root reaches by ordinary dependencies, and who needs whom."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting, found = [metadata["resolve"]["root"]], {}
    while waiting:
        this = waiting.pop()
        if this in found:
            continue
        # Scripts and tests (kinds `build` and `dev`) leave no code in the program.
        needs = [need["pkg"] for need in nodes[this]["deps"] if any(kind["kind"] is None for kind in need["dep_kinds"])]
        found[this] = needs
        waiting += needs
    return found


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, kind):
    described = {"type": kind, "bom-ref": purl(package), "name": package["name"], "version": package["version"], "purl": purl(package)}
    if package["license"]:
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return described


def main():
    metadata = json.load(sys.stdin)
    made = datetime.datetime.fromtimestamp(int(sys.argv[1]), datetime.timezone.utc)
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    needs = linked(metadata)
    libraries = sorted((packages[id] for id in needs if id != root), key=purl)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": component(packages[root], "application")},
        "components": [component(package, "library") for package in libraries],
        "dependencies": [
            {"ref": purl(packages[id]), "dependsOn": sorted({purl(packages[need]) for need in needs[id]})}
            for id in sorted(needs, key=lambda id: purl(packages[id]))
        ],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


main()
