// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// SystemNamespace is where manifests/base puts the operator.
const SystemNamespace = "dbupgrade-system"

// InstallRights gives the cluster the operator's service accounts and roles as they are shipped.
func (c *Cluster) InstallRights() error {
	for _, file := range []string{"namespace.yaml", "rbac.yaml"} {
		if _, err := c.TryKubectl("apply", "-f", Root("manifests", "base", file)); err != nil {
			return err
		}
	}
	return eventually(time.Minute, func() error { return c.can(SystemNamespace, "dbupgrade-reconciler", "list", "jobs") })
}

// can asks the API server whether a service account may do this now, in its namespace: it learns of
// roles by a watch, so later than they are written. resource may name a subresource.
func (c *Cluster) can(namespace, account, verb, resource string) error {
	resource, sub, _ := strings.Cut(resource, "/")
	_, err := c.TryKubectl("auth", "can-i", verb, resource, "--subresource="+sub, "-n", namespace,
		"--as=system:serviceaccount:"+namespace+":"+account)
	return err
}

// AwaitRight waits until a service account may do this in its namespace.
func (c *Cluster) AwaitRight(t testing.TB, namespace, account, verb, resource string) {
	t.Helper()
	Eventually(t, time.Minute, verb+" "+resource, func() error { return c.can(namespace, account, verb, resource) })
}

// ReconcilerKubeconfig is AccountKubeconfig of the shipped service account.
func (c *Cluster) ReconcilerKubeconfig(t testing.TB, server string, ca []byte) string {
	t.Helper()
	return c.AccountKubeconfig(t, SystemNamespace, "dbupgrade-reconciler", server, ca)
}

// AccountKubeconfig writes a kubeconfig of a service account into a directory of the test. server
// and ca (PEM) are those of a proxy; the API server's own when server is empty.
func (c *Cluster) AccountKubeconfig(t testing.TB, namespace, account, server string, ca []byte) string {
	t.Helper()
	seconds := int64(3600)
	token, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}},
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if server == "" {
		server = c.Config.Host
		if ca, err = os.ReadFile(c.Config.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// StartReconciler starts a reconciler.
func StartReconciler(t testing.TB, kubeconfig string, args ...string) *Process {
	t.Helper()
	return StartProcess(t, Binary(t, "DBUPGRADE_RECONCILER"), append([]string{
		"--kubeconfig=" + kubeconfig, "--metrics-bind-address=0", "--health-probe-bind-address=0",
		"--log-format=json", "--log-level=debug"}, args...)...)
}
