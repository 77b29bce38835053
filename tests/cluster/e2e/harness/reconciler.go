// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
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
	return c.awaitRight(Reconciler, true, authorizationv1.ResourceAttributes{Verb: "list", Group: "batch", Resource: "jobs"})
}

// AwaitRight waits until a user may do this, or may not: the API server learns of roles by a watch, so
// later than they are written.
func (c *Cluster) AwaitRight(t testing.TB, user string, allowed bool, what authorizationv1.ResourceAttributes) {
	t.Helper()
	if err := c.awaitRight(user, allowed, what); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) awaitRight(user string, allowed bool, what authorizationv1.ResourceAttributes) error {
	return eventually(time.Minute, func() error {
		// Also after a test: its context has ended then.
		review, err := c.Client.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: []string{"system:serviceaccounts"}, ResourceAttributes: &what},
		}, metav1.CreateOptions{})
		if err == nil && review.Status.Allowed != allowed {
			err = fmt.Errorf("%s may %s %s/%s %s in %q: %t", user, what.Verb, what.Group, what.Resource, what.Subresource, what.Namespace, !allowed)
		}
		return err
	})
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
