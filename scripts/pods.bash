#!/usr/bin/env bash
# Pods on this machine, as a kubelet would run k8s/injection/pod.injected.yaml: crun, one network namespace a pod, Envoy as another user with
# the socket read-only, an API that has no part in it, volumes in memory. What scripts/run-pod and scripts/roll-out share; sourced by them, as root on Linux with crun, iproute2, Python 3 with
# PyYAML, and Envoy (scripts/install-envoy).

envoy=$(scripts/install-envoy)
prefix=tollgate-$$
pods=$(mktemp -d)
chmod 755 "$pods"

# Everything that was started ends here, however it went.
end_pods() {
  local container process namespace place mounts
  for container in $(crun list --quiet 2>/dev/null | grep "^$prefix-"); do crun delete --force "$container" 2>/dev/null || true; done
  for process in $(jobs -p); do kill "$process" 2>/dev/null || true; done
  for namespace in $(ip netns list | cut -d ' ' -f 1 | grep "^$prefix-"); do
    for process in $(ip netns pids "$namespace"); do kill -KILL "$process" 2>/dev/null || true; done
    ip netns delete "$namespace" 2>/dev/null || true
  done
  mapfile -t mounts < <(cut -d ' ' -f 2 /proc/mounts | grep "^$pods/")
  for place in "${mounts[@]}"; do umount --lazy "$place"; done
  rm -rf --one-file-system "$pods"
}
trap end_pods EXIT

fail() {
  echo "$(basename "$0"): $1" >&2
  tail -n 8 "$pods"/*.log "$pods"/*/*.log >&2 2>/dev/null || true
  exit 1
}

now_in_milliseconds() { date +%s%3N; }

pause() { read -rt "$1" <> <(:) || true; }

until_it_works() {
  local deadline=$((SECONDS + 30))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "did not happen within 30 seconds: $*"
    pause 0.02
  done
}

# The root of an OCI image and what it starts, from its layout; of Envoy, whose package is a program and no image; and of the API, which is
# the Python of this machine, and its only order.
unpack_images() {
  python3 - "$1" "$pods" <<'PYTHON'
import json, pathlib, sys, tarfile
layout, folder = map(pathlib.Path, sys.argv[1:])
def blob(digest):
    return layout / "blobs" / digest.replace(":", "/")
manifest = json.loads(blob(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]).read_text())
for layer in manifest["layers"]:
    with tarfile.open(blob(layer["digest"])) as archive:
        archive.extractall(folder / "tollgate-root", filter="tar")
(folder / "image.json").write_text(json.dumps(json.loads(blob(manifest["config"]["digest"]).read_text())["config"]))
PYTHON
  local library
  install -D -m 755 "$envoy" "$pods/envoy-root/envoy"
  for library in $(ldd "$envoy" | grep -o '/[^ ]*'); do
    install -D "$library" "$pods/envoy-root$library"
  done
  mkdir -p "$pods/orders-root/usr" "$pods/api"
  for library in bin lib lib64; do
    [[ ! -L /$library ]] || ln -s "usr/$library" "$pods/orders-root/$library"
  done
  echo '{"order":7}' >"$pods/api/7"
}

# A node: a network that pods are put on.
make_node() {
  ip netns add "$prefix-node"
  inside node ip link set lo up
  inside node ip link add bridge type bridge
  inside node ip address add 10.77.0.1/24 dev bridge
  inside node ip link set bridge up
}

# Puts a pod on the node's network, at an address.
put_on_node() {
  local pod=$1 address=$2
  inside node ip link add "$pod" type veth peer name eth0 netns "$prefix-$pod"
  inside node ip link set "$pod" master bridge up
  inside "$pod" ip address add "$address/24" dev eth0
  inside "$pod" ip link set eth0 up
}

# A Service of the node, at a port of its loopback: each new connection goes to the next of the addresses that are in $pods/endpoints now.
make_service() {
  local port=$1
  inside node python3 - "$port" "$pods/endpoints" >"$pods/service-$port.log" 2>&1 <<'PYTHON' &
import asyncio, itertools, pathlib, sys

port, endpoints, turn = int(sys.argv[1]), pathlib.Path(sys.argv[2]), itertools.count()

async def copy(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()

async def connect(reader, writer):
    known = endpoints.read_text().split()
    try:
        to = await asyncio.open_connection(known[next(turn) % len(known)], port)
    except OSError:
        return writer.close()
    await asyncio.gather(copy(reader, to[1]), copy(to[0], writer))

async def main():
    await (await asyncio.start_server(connect, "127.0.0.1", port)).serve_forever()

asyncio.run(main())
PYTHON
  until_it_works listens node "$port"
}

# A pod with its folders for volumes.
make_pod() {
  local pod=$1
  mkdir -p "$pods/$pod"/{run,config,secrets,no-api,envoy-config}
  ip netns add "$prefix-$pod"
  inside "$pod" ip link set lo up
}

inside() {
  local pod=$1
  shift
  ip netns exec "$prefix-$pod" "$@"
}

# The bundles of a pod's containers, as the injected pod says that they are to be started, and its volumes in memory.
make_bundles() {
  local pod=$1 container
  for container in tollgate envoy orders; do
    mkdir -p "$pods/$pod/$container"
    cp -r "$pods/$container-root" "$pods/$pod/$container/rootfs"
    (cd "$pods/$pod/$container" && crun spec)
  done
  python3 - "$pods" "$pod" "$prefix" <<'PYTHON'
import json, pathlib, subprocess, sys, yaml
folder, pod, prefix = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
spec = yaml.safe_load(pathlib.Path("k8s/injection/pod.injected.yaml").read_text())["spec"]
image = json.loads((folder / "image.json").read_text())
user = int(image["User"].split(":")[0])
sources = {
    "tollgate-run": "run", "tollgate-config": "config", "tollgate-secrets": "secrets", "tollgate-no-api": "no-api", "envoy": "envoy-config",
}
for volume in spec["volumes"]:
    if volume.get("emptyDir", {}).get("medium") == "Memory":
        size = volume["emptyDir"]["sizeLimit"].removesuffix("i")
        place = folder / pod / sources[volume["name"]]
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", place], check=True)
serve = """
import functools, http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
files = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/srv")
http.server.ThreadingHTTPServer(("127.0.0.1", 9000), files).serve_forever()
"""
ours, envoy, orders = spec["initContainers"][0], *spec["containers"]
assert ours["securityContext"]["runAsUser"] == user, "the image and the pod name different users"
containers = (
    (ours, [*image["Entrypoint"], *ours["args"]], user),
    (envoy, ["/envoy", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", *envoy["args"]], 101),
    (orders, ["/usr/bin/python3", "-c", serve], 1000),
)
for container, command, user in containers:
    path = folder / pod / container["name"] / "config.json"
    bundle = json.loads(path.read_text())
    bundle["process"].update(terminal=False, args=command, user={"uid": user, "gid": user}, noNewPrivileges=True, capabilities={})
    bundle["root"] = {"path": "rootfs", "readonly": True}
    bundle["mounts"] = [mount for mount in bundle["mounts"] if not mount["destination"].startswith("/sys")]
    binds = [
        (folder / pod / sources[mount["name"]], mount["mountPath"], "ro" if mount.get("readOnly") else "rw")
        for mount in container.get("volumeMounts", [])
    ]
    if container is orders:
        binds += [("/usr", "/usr", "ro"), (folder / "api", "/srv", "ro")]
    for source, destination, mode in binds:
        bundle["mounts"].append({"type": "bind", "source": str(source), "destination": destination, "options": ["bind", mode]})
    bundle["linux"].pop("resources", None)
    bundle["linux"]["namespaces"] = [one for one in bundle["linux"]["namespaces"] if one["type"] != "cgroup"]
    for one in bundle["linux"]["namespaces"]:
        if one["type"] == "network":
            one["path"] = f"/var/run/netns/{prefix}-{pod}"
    path.write_text(json.dumps(bundle))
PYTHON
}

start() {
  local pod=$1 container=$2
  # Hosts with hybrid cgroups keep crun from starting; nothing here is limited.
  # shellcheck disable=SC2016
  unshare --mount sh -c 'umount -l /sys/fs/cgroup; mount -t tmpfs tmpfs /sys/fs/cgroup
    exec crun --cgroup-manager=disabled run -b "$1" "$2"' sh "$pods/$pod/$container" "$prefix-$pod-$container" \
    >"$pods/$pod/$container.log" 2>&1 &
}

# A probe of the sidecar, as its container says it: `--live` or nothing.
probe() {
  local pod=$1
  shift
  crun exec "$prefix-$pod-tollgate" /tollgate healthcheck "$@" unix:/run/tollgate/authz.sock
}

listens() {
  inside "$1" bash -c "exec 3<>/dev/tcp/127.0.0.1/$2"
}

# Stops a container and waits for its end.
stop() {
  local name=$prefix-$1-$2 deadline=$((SECONDS + 20))
  crun kill "$name" TERM
  while crun state "$name" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "$2 does not end"
    pause 0.02
  done
}
