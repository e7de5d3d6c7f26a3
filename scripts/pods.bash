#!/usr/bin/env bash
# Pods on this machine, as a kubelet would run k8s/injection/pod.injected.yaml: crun, one network namespace a pod, Envoy as another user with
# the socket read-only. What scripts/run-pod and scripts/roll-out share; sourced by them, as root on Linux with crun, iproute2, Python 3 with
# PyYAML, and Envoy (scripts/install-envoy).

envoy=$(scripts/install-envoy)
prefix=tollgate-$$
pods=$(mktemp -d)
chmod 755 "$pods"

# Everything that was started ends here, however it went.
end_pods() {
  local container process namespace
  for container in $(crun list --quiet 2>/dev/null | grep "^$prefix-"); do crun delete --force "$container" 2>/dev/null || true; done
  for process in $(jobs -p); do kill "$process" 2>/dev/null || true; done
  for namespace in $(ip netns list | cut -d ' ' -f 1 | grep "^$prefix-"); do
    for process in $(ip netns pids "$namespace"); do kill -KILL "$process" 2>/dev/null || true; done
    ip netns delete "$namespace" 2>/dev/null || true
  done
  rm -rf "$pods"
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

# The root of an OCI image and what it starts, from its layout; and of Envoy, whose package is a program and no image.
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
}

# A pod with its folders for volumes: run, config, secrets, envoy-config.
make_pod() {
  local pod=$1
  mkdir -p "$pods/$pod"/{run,config,secrets,envoy-config}
  chmod 1777 "$pods/$pod/run" # as an emptyDir
  ip netns add "$prefix-$pod"
  inside "$pod" ip link set lo up
}

inside() {
  local pod=$1
  shift
  ip netns exec "$prefix-$pod" "$@"
}

# The bundles of a pod's sidecar and Envoy, as the injected pod says that they are to be started.
make_bundles() {
  local pod=$1 container
  for container in tollgate envoy; do
    mkdir -p "$pods/$pod/$container"
    cp -r "$pods/$container-root" "$pods/$pod/$container/rootfs"
    (cd "$pods/$pod/$container" && crun spec)
  done
  python3 - "$pods" "$pod" "$prefix" <<'PYTHON'
import json, pathlib, sys, yaml
folder, pod, prefix = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
spec = yaml.safe_load(pathlib.Path("k8s/injection/pod.injected.yaml").read_text())["spec"]
image = json.loads((folder / "image.json").read_text())
user = int(image["User"].split(":")[0])
sources = {"tollgate-run": "run", "tollgate-config": "config", "tollgate-secrets": "secrets", "envoy": "envoy-config"}
ours, envoy = spec["initContainers"][0], spec["containers"][0]
assert ours["securityContext"]["runAsUser"] == user, "the image and the pod name different users"
containers = (
    (ours, [*image["Entrypoint"], *ours["args"]], user),
    (envoy, ["/envoy", "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", *envoy["args"]], 101),
)
for container, command, user in containers:
    path = folder / pod / container["name"] / "config.json"
    bundle = json.loads(path.read_text())
    bundle["process"].update(terminal=False, args=command, user={"uid": user, "gid": user}, noNewPrivileges=True, capabilities={})
    bundle["root"] = {"path": "rootfs", "readonly": True}
    bundle["mounts"] = [mount for mount in bundle["mounts"] if not mount["destination"].startswith("/sys")]
    for mount in container["volumeMounts"]:
        if mount["name"] in sources:
            bundle["mounts"].append({
                "type": "bind", "source": str(folder / pod / sources[mount["name"]]), "destination": mount["mountPath"],
                "options": ["bind", "ro" if mount.get("readOnly") else "rw"],
            })
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
