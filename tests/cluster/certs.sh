#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# certs.sh DIR IP...: makes in DIR a CA and the certificates and keys of a
# cluster whose API server is reached at the IPs (and as localhost). Does
# nothing when they are there already.
set -eu
dir=$1
shift
[ -e "$dir/complete" ] && exit 0
mkdir -p "$dir"
cd "$dir"
umask 077
# openssl reports its progress as if it were errors.
exec 3>&2 2>openssl.log
trap '[ $? -eq 0 ] || cat openssl.log >&3' EXIT
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost
for ip; do names=$names,IP:$ip; done

# issue NAME SUBJECT EXTENSIONS: NAME.key and NAME.crt.
issue() {
	printf '%s\n' "$3" >"$1.ext"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc \
		-keyout "$1.key" -subj "$2" |
		openssl x509 -req -CA ca.crt -CAkey ca.key -days 3650 -extfile "$1.ext" -out "$1.crt"
	rm "$1.ext"
}

openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc \
	-keyout ca.key -out ca.crt -subj /CN=cluster-ca -days 3650 -addext keyUsage=critical,keyCertSign,cRLSign
server="extendedKeyUsage=serverAuth
subjectAltName=$names"
client="extendedKeyUsage=clientAuth"
issue apiserver /CN=kube-apiserver "$server"
issue admin /O=system:masters/CN=admin "$client"
issue apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client "$client"
issue controller-manager /CN=system:kube-controller-manager "$client"
issue scheduler /CN=system:kube-scheduler "$client"
issue proxy /CN=system:kube-proxy "$client"
issue node /O=system:nodes/CN=system:node:node "$client"
issue kubelet /CN=node "$server,DNS:node" # its own serving certificate
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out sa.key
openssl pkey -in sa.key -pubout -out sa.pub
rm openssl.log
touch complete
