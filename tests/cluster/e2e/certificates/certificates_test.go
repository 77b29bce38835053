// SPDX-License-Identifier: Apache-2.0

// Package certificates judges how the reconciler keeps the webhook's certificates on a real API
// server, with the shipped rights. The whole way to a webhook that is asked is in package rotation.
package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Exit(harness.RunAudited(m, &cluster, (*harness.Cluster).InstallRights))
}

const (
	caSecret      = "dbupgrade-webhook-ca"
	servingSecret = "dbupgrade-webhook-cert"
	validating    = "validatingwebhookconfigurations/dbupgrade-validating-webhook-configuration"
	mutating      = "mutatingwebhookconfigurations/dbupgrade-mutating-webhook-configuration"

	// Half of the time after which the keeper looks without being told.
	toldPatience = 30 * time.Second
)

var configurations = harness.Root("manifests", "base", "webhook-configurations.yaml")

// fresh takes everything away that an earlier test has left, and applies the configurations anew.
func fresh(t *testing.T) {
	t.Helper()
	for _, name := range []string{caSecret, servingSecret} {
		err := cluster.Client.CoreV1().Secrets(harness.SystemNamespace).Delete(t.Context(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	cluster.Kubectl(t, "delete", "--ignore-not-found", "-f", configurations)
	cluster.Kubectl(t, "apply", "-f", configurations)
}

func start(t *testing.T, args ...string) *harness.Process {
	t.Helper()
	return startAs(t, cluster.ReconcilerKubeconfig(t, "", nil), args...)
}

func startAs(t *testing.T, kubeconfig string, args ...string) *harness.Process {
	t.Helper()
	return harness.StartReconciler(t, kubeconfig, append([]string{
		"--cert-mode=self-managed", "--operator-namespace=" + harness.SystemNamespace}, args...)...)
}

// bundle is the caBundle of a configuration's one webhook.
func bundle(t *testing.T, configuration string) []byte {
	t.Helper()
	var object struct {
		Webhooks []struct{ ClientConfig struct{ CABundle []byte } }
	}
	if err := json.Unmarshal([]byte(cluster.Kubectl(t, "get", configuration, "-o", "json")), &object); err != nil {
		t.Fatal(err)
	}
	if len(object.Webhooks) != 1 {
		t.Fatalf("%s: %d webhooks", configuration, len(object.Webhooks))
	}
	return object.Webhooks[0].ClientConfig.CABundle
}

func secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s, err := cluster.Client.CoreV1().Secrets(harness.SystemNamespace).Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &corev1.Secret{}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func certificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no certificate: %q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// awaitKept waits until both configurations trust the CA, and says how long it took.
func awaitKept(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	harness.Eventually(t, limit, "both configurations trust the CA", func() error {
		ca, serving := secret(t, caSecret), secret(t, servingSecret)
		if len(ca.Data) == 0 || len(serving.Data) == 0 {
			return errors.New("the Secrets are not there")
		}
		for _, configuration := range []string{validating, mutating} {
			if !bytes.Equal(bundle(t, configuration), ca.Data["ca.crt"]) {
				return fmt.Errorf("%s has another caBundle", configuration)
			}
		}
		return certificate(t, serving.Data["tls.crt"]).CheckSignatureFrom(certificate(t, ca.Data["tls.crt"]))
	})
	return time.Since(begin)
}

func patchBundle(t *testing.T, configuration, op, value string) {
	t.Helper()
	cluster.Kubectl(t, "patch", configuration, "--type=json",
		"-p", fmt.Sprintf(`[{"op": %q, "path": "/webhooks/0/clientConfig/caBundle"%s}]`, op, value))
}

func TestARepairComesAtOnce(t *testing.T) {
	fresh(t)
	begin := time.Now()
	r := start(t)
	awaitKept(t, harness.Patience)
	t.Logf("all made %v after the start of the process", time.Since(begin).Round(time.Millisecond))
	time.Sleep(2 * time.Second) // what the keeper itself has changed is no news any more
	for _, blow := range []struct {
		name string
		fall func()
	}{
		{"emptied in one", func() { patchBundle(t, validating, "remove", "") }},
		{"emptied in the other", func() { patchBundle(t, mutating, "remove", "") }},
		{"of somebody else", func() { patchBundle(t, validating, "replace", `, "value": "`+otherCA(t)+`"`) }},
		{"configurations made anew", func() {
			cluster.Kubectl(t, "replace", "--force", "-f", configurations)
		}},
	} {
		t.Run(blow.name, func(t *testing.T) {
			blow.fall()
			t.Logf("repaired after %v", awaitKept(t, toldPatience).Round(time.Millisecond))
		})
	}
	t.Run("a Secret is gone, and a configuration changes", func(t *testing.T) {
		before := certificate(t, secret(t, servingSecret).Data["tls.crt"])
		err := cluster.Client.CoreV1().Secrets(harness.SystemNamespace).Delete(t.Context(), servingSecret, metav1.DeleteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		cluster.Kubectl(t, "label", validating, "touched=yes")
		awaitKept(t, toldPatience)
		if certificate(t, secret(t, servingSecret).Data["tls.crt"]).Equal(before) {
			t.Error("the same certificate")
		}
	})
	t.Logf("memory: %d KiB", harness.Memory(t, r.Pid(), "Rss"))
}

// otherCA is a CA of the cluster, in base64.
func otherCA(t *testing.T) string {
	t.Helper()
	ca := harness.NewCA(t)
	text, err := json.Marshal(ca.PEM) // as base64, in quotes
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(text), `"`)
}

// Two that both believe to be alone: one pair comes of it, and then nobody writes any more.
func TestTwoKeepersAgree(t *testing.T) {
	fresh(t)
	start(t)
	start(t)
	awaitKept(t, harness.Patience)
	state := func() []string {
		return []string{secret(t, caSecret).ResourceVersion, secret(t, servingSecret).ResourceVersion,
			cluster.Kubectl(t, "get", validating, "-o", "jsonpath={.metadata.resourceVersion}"),
			cluster.Kubectl(t, "get", mutating, "-o", "jsonpath={.metadata.resourceVersion}")}
	}
	time.Sleep(2 * time.Second)
	before := state()
	time.Sleep(3 * time.Second)
	if after := state(); !slices.Equal(before, after) {
		t.Errorf("resourceVersions %v, later %v", before, after)
	}
	awaitKept(t, harness.Patience)
}

// With certificates of somebody else's (cert-manager, a user's Secret), nothing is touched.
func TestSomebodyElseKeepsThem(t *testing.T) {
	fresh(t)
	ca := otherCA(t)
	patchBundle(t, validating, "add", `, "value": "`+ca+`"`)
	proxy := cluster.NewProxy(t)
	harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, proxy.URL, proxy.CA), "--cert-mode=none",
		"--operator-namespace="+harness.SystemNamespace)
	harness.Eventually(t, harness.Patience, "it watches", func() error {
		if !slices.ContainsFunc(proxy.Exchanges(), func(e harness.Exchange) bool { return strings.Contains(e.URL, "/pods?watch") }) {
			return errors.New("no watch of Pods")
		}
		return nil
	})
	time.Sleep(2 * time.Second)
	for _, e := range proxy.Exchanges() {
		if strings.Contains(e.URL, "secrets") || strings.Contains(e.URL, "webhookconfigurations") {
			t.Errorf("asked for %s", e.URL)
		}
	}
	if text, _ := json.Marshal(bundle(t, validating)); strings.Trim(string(text), `"`) != ca || len(bundle(t, mutating)) != 0 {
		t.Error("a caBundle has changed")
	}
}

const poor = "poor"

// poorAccount makes an account with the shipped rights. The function that it returns changes what it
// may do with the two Secrets: whatever is refused to the shipped account would fail the package.
func poorAccount(t *testing.T) (verbs func(...string)) {
	t.Helper()
	account := "--serviceaccount=" + harness.SystemNamespace + ":" + poor
	cluster.Kubectl(t, "create", "serviceaccount", poor, "-n", harness.SystemNamespace)
	for _, role := range []string{"dbupgrade-reconciler", "dbupgrade-certificates"} {
		cluster.Kubectl(t, "create", "clusterrolebinding", poor+"-"+role, "--clusterrole="+role, account)
	}
	roles := cluster.Client.RbacV1().Roles(harness.SystemNamespace)
	shipped, err := roles.Get(t.Context(), "dbupgrade-certificates", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: poor}, Rules: shipped.Rules}
	if _, err := roles.Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.Kubectl(t, "create", "rolebinding", poor, "-n", harness.SystemNamespace, "--role="+poor, account)
	return func(list ...string) {
		t.Helper()
		role.Rules[1].Verbs = list
		if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A certificate that cannot be renewed is told by an event and a metric, and renewed as soon as that
// is possible.
func TestAnExpiringCertificateIsTold(t *testing.T) {
	fresh(t)
	verbs := poorAccount(t)
	verbs("get")
	port := harness.FreePort(t)
	startAs(t, cluster.AccountKubeconfig(t, harness.SystemNamespace, poor, "", nil), "--cert-propagation=5s", "--cert-lifetime=30s", fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", port))
	awaitKept(t, harness.Patience)
	first := certificate(t, secret(t, servingSecret).Data["tls.crt"])
	expiry, err := harness.Metric(port, "dbupgrade_webhook_cert_expiry_timestamp_seconds")
	if err != nil || int64(expiry) != first.NotAfter.Unix() {
		t.Errorf("the metric says %v (%v), the certificate %d", expiry, err, first.NotAfter.Unix())
	}
	harness.Eventually(t, harness.Patience, "the event", func() error {
		events, err := cluster.Client.EventsV1().Events(harness.SystemNamespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "CertificateExpiring" && e.Regarding.Name == servingSecret && e.Type == corev1.EventTypeWarning {
				return nil
			}
		}
		return fmt.Errorf("%d events", len(events.Items))
	})
	verbs("get", "update")
	harness.Eventually(t, harness.Patience, "it is renewed", func() error {
		if certificate(t, secret(t, servingSecret).Data["tls.crt"]).Equal(first) {
			return errors.New("still the first")
		}
		return nil
	})
}
