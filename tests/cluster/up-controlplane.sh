#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# up-controlplane.sh DIR PORT: starts etcd, kube-apiserver and
# kube-controller-manager with their state, logs and process ids in DIR, and
# returns when the API is ready (4 s). Any user can; several can run, each with
# a DIR and PORT of its own: they listen on PORT to PORT+3 of the loopback.
#
# DIR/kubeconfig is then the administrator's. down-controlplane.sh DIR stops it;
# starting it again on the same DIR goes on with its data: remove DIR for an
# empty cluster. What was started by a start that fails is stopped again.
#
# KUBE   the multi-call program; that of cached.sh unless set
# CRDS   a manifest, or a directory (of a kustomization or of manifests), applied
#        before the controller manager starts: its garbage collector would learn
#        of a kind that comes later only after up to 40 s
# IP     where pods find the API server, not in 127/8; it then listens on every
#        address. Without it the Service "kubernetes" leads nowhere.
# APISERVER_FLAGS, KCM_FLAGS   more flags, separated by white space
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
port=$2
dir=$(mkdir -p "$1/run" "$1/log" && cd "$1" && pwd)
kube=${KUBE:-$("$here/cached.sh" kube)}
ip=${IP:-192.0.2.1} listen=127.0.0.1
[ -z "${IP:-}" ] || listen=0.0.0.0
pki=$dir/pki

# kubeconfig NAME FILE: of the user whose certificate is NAME.crt.
kubeconfig() {
	cat >"$2" <<-END
		apiVersion: v1
		kind: Config
		current-context: default
		clusters:
		- name: default
		  cluster: {server: "https://127.0.0.1:$port", certificate-authority: $pki/ca.crt}
		users:
		- name: default
		  user: {client-certificate: $pki/$1.crt, client-key: $pki/$1.key}
		contexts:
		- name: default
		  context: {cluster: default, user: default}
	END
}

# The controller manager makes it last, and no Pod is admitted without it.
default_service_account() {
	kubectl get serviceaccount default
}

"$here/certs.sh" "$pki" 127.0.0.1 10.96.0.1 "$ip"
kubeconfig admin "$dir/kubeconfig"
kubeconfig controller-manager "$dir/controller-manager.kubeconfig"
trap '[ $? -eq 0 ] || "$here/down-controlplane.sh" "$dir"' EXIT
trap 'exit 1' INT TERM

etcd=http://127.0.0.1:$((port + 1)) etcd_peer=http://127.0.0.1:$((port + 2))
start etcd "$kube" etcd --name=default --data-dir="$dir/etcd" \
	--listen-client-urls="$etcd" --advertise-client-urls="$etcd" \
	--listen-peer-urls="$etcd_peer" --initial-advertise-peer-urls="$etcd_peer" \
	--initial-cluster=default="$etcd_peer" \
	--unsafe-no-fsync --log-level=warn
# shellcheck disable=SC2086 # a list of flags
start kube-apiserver "$kube" kube-apiserver --etcd-servers="$etcd" \
	--bind-address="$listen" --secure-port="$port" --advertise-address="$ip" \
	--tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
	--client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC \
	--service-account-issuer=https://kubernetes.default.svc.cluster.local \
	--service-account-key-file="$pki/sa.pub" \
	--service-account-signing-key-file="$pki/sa.key" \
	--service-cluster-ip-range=10.96.0.0/16 \
	--enable-aggregator-routing --allow-privileged \
	--kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
	--kubelet-client-key="$pki/apiserver-kubelet-client.key" \
	--kubelet-certificate-authority="$pki/ca.crt" \
	--kubelet-preferred-address-types=InternalIP \
	${APISERVER_FLAGS:-}
await 60 kube-apiserver curl -sf --cacert "$pki/ca.crt" "https://127.0.0.1:$port/readyz"
if [ -n "${CRDS:-}" ]; then
	[ -e "$CRDS/kustomization.yaml" ] && option=-k || option=-f
	kubectl apply "$option" "$CRDS" >"$dir/log/crds"
	# Again and again: a CRD without any status yet is an error for "kubectl wait".
	await 20 kube-apiserver kubectl wait --for=condition=Established --timeout=1s crd --all
fi
# shellcheck disable=SC2086 # a list of flags
start kube-controller-manager "$kube" kube-controller-manager \
	--kubeconfig="$dir/controller-manager.kubeconfig" \
	--bind-address=127.0.0.1 --secure-port=$((port + 3)) \
	--authentication-kubeconfig="$dir/controller-manager.kubeconfig" \
	--authorization-kubeconfig="$dir/controller-manager.kubeconfig" \
	--leader-elect=false --use-service-account-credentials \
	--kube-api-qps=1000 --kube-api-burst=2000 \
	--service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
	--cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
	--flex-volume-plugin-dir="$dir/run/flexvolume" \
	${KCM_FLAGS:-}
await 60 kube-controller-manager curl -skf "https://127.0.0.1:$((port + 3))/healthz"
await 60 kube-controller-manager default_service_account
