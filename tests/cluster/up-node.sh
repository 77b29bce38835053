#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# up-node.sh DIR PORT: a whole one-node cluster, in DIR: the control plane of
# up-controlplane.sh and, on PORT+4 to PORT+8, the scheduler and a node that runs
# pods: containerd, kube-proxy, kubelet, and DNS for Services. Returns when the
# node is ready. It takes hold of the machine's network: sandbox.sh runs it in
# name spaces of its own.
#
# Pods have addresses of 10.244.0.0/24 on the bridge cni0, where the host is
# 10.244.0.1; Services of 10.96.0.0/16.
#
# IMAGES   more image archives to import than those of cached.sh, separated by
#          white space
# KUBE, CRDS, APISERVER_FLAGS, KCM_FLAGS   see up-controlplane.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
dir=$(mkdir -p "$1/run" "$1/log" "$1/cni" && cd "$1" && pwd)
port=$2
kube=${KUBE:-$("$here/cached.sh" kube)}
images=$("$here/cached.sh" images)
pki=$dir/pki
ip=10.244.0.1
containerd=$dir/run/containerd.sock

ctr() { command ctr --address "$containerd" --namespace k8s.io "$@"; }

# The bridge is made here, before the API server needs its address; the CNI
# plugin takes it as it is.
if ! ip link show cni0 >/dev/null 2>&1; then
	ip link add cni0 type bridge
	ip address add "$ip/24" dev cni0
fi
ip link set cni0 up
echo 1 >/proc/sys/net/ipv4/ip_forward

KUBE=$kube IP=$ip "$here/up-controlplane.sh" "$dir" "$port"
for user in scheduler proxy node; do
	sed "s,/admin\.,/$user.,g" "$dir/kubeconfig" >"$dir/$user.kubeconfig"
done

cat >"$dir/cni/10-bridge.conflist" <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
  "ipam": {"type": "host-local", "dataDir": "$dir/cni/ipam",
   "ranges": [[{"subnet": "10.244.0.0/24", "gateway": "$ip"}]],
   "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
cat >"$dir/containerd.toml" <<END
version = 2
root = "$dir/containerd"
state = "$dir/run/containerd"
[grpc]
  address = "$containerd"
[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Root without CAP_SYS_RESOURCE (in a container) may not give a process a lower
  # oom_score_adj than its own: runc would die at the -998 of pause.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
END
start containerd containerd --config "$dir/containerd.toml"
await 30 containerd ctr version
for archive in $images ${IMAGES:-}; do
	ctr images import "$archive" >>"$dir/log/images"
done

start kube-scheduler "$kube" kube-scheduler --kubeconfig="$dir/scheduler.kubeconfig" \
	--authentication-kubeconfig="$dir/scheduler.kubeconfig" \
	--authorization-kubeconfig="$dir/scheduler.kubeconfig" \
	--bind-address=127.0.0.1 --secure-port=$((port + 4)) --leader-elect=false

cat >"$dir/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16
hostnameOverride: node
clientConnection: {kubeconfig: $dir/proxy.kubeconfig}
healthzBindAddress: 127.0.0.1:$((port + 5))
metricsBindAddress: 127.0.0.1:$((port + 6))
conntrack: {maxPerCore: 0, min: 0}
nftables: {minSyncPeriod: 50ms} # else a new Service takes up to a second to work
END
start kube-proxy "$kube" kube-proxy --config="$dir/proxy.yaml"

start dns "$kube" dns --kubeconfig="$dir/kubeconfig" --listen="$ip:53"

cat >"$dir/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ip
port: $((port + 7))
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
healthzPort: $((port + 8))
authentication:
  anonymous: {enabled: false}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
containerRuntimeEndpoint: unix://$containerd
podLogsDir: $dir/log/pods
volumePluginDir: $dir/kubelet/plugins-exec
cgroupDriver: cgroupfs
failCgroupV1: false # where that is all there is
cgroupsPerQOS: false # containers are in /k8s.io
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
syncFrequency: 1s # else a changed Secret takes a minute to reach its mounts
clusterDomain: cluster.local
clusterDNS: [$ip]
resolvConf: "" # pods talk to each other, not to the machine's network
evictionHard: {memory.available: 0%, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%, imagefs.inodesFree: 0%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
END
# A node of an earlier run is not to be taken for ready because it was then.
started kubelet || kubectl patch node node --subresource=status -p \
	'{"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}' >/dev/null 2>&1 || true
start kubelet "$kube" kubelet --config="$dir/kubelet.yaml" --root-dir="$dir/kubelet" \
	--kubeconfig="$dir/node.kubeconfig" --hostname-override=node --node-ip="$ip"
await 90 kubelet kubectl wait --for=condition=Ready node/node --timeout=5s
