// SPDX-License-Identifier: Apache-2.0

//go:build node

// Package rotation judges the self-managed certificates of the webhook on a whole node: the kubelet
// brings the Secret to the webhook, the API server reads the caBundle, and nobody who applies a
// DBUpgrade may notice that leaf and CA change.
package rotation

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"dbupgrade/tests/cluster/e2e/harness"
)

var node *harness.Node

func TestMain(m *testing.M) { os.Exit(harness.RunNodeAudited(m, &node)) }

const (
	caSecret      = "dbupgrade-webhook-ca"
	servingSecret = "dbupgrade-webhook-cert"

	webhooks  = 2 // by the manifests
	rotations = 3 // of CAs that must pass, after the first
	patience  = 5 * time.Minute
)

// short are lifetimes with which a CA is replaced each 40 s and a serving certificate each 20 s, by
// turns with the same CA and with the next one. None shorter would be accepted.
var short = []string{"--cert-propagation=5s", "--ca-lifetime=60s", "--cert-lifetime=30s"}

// certificate is the first one of a Secret's member; nil when there is none.
func certificate(t *testing.T, secret string) *x509.Certificate {
	t.Helper()
	s, err := node.Client.CoreV1().Secrets(harness.SystemNamespace).Get(t.Context(), secret, metav1.GetOptions{})
	if err != nil {
		return nil // it is about to be made
	}
	certs := parse(t, s.Data["tls.crt"])
	if len(certs) == 0 {
		t.Fatalf("Secret %s holds no certificate", secret)
	}
	return certs[0]
}

// parse reads the certificates among other lines.
func parse(t *testing.T, text []byte) (certs []*x509.Certificate) {
	t.Helper()
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return certs
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
}

// trusted is what the API server trusts, by the name of each configuration.
func trusted(t *testing.T) map[string][]*x509.Certificate {
	t.Helper()
	api := node.Client.AdmissionregistrationV1()
	v, err := api.ValidatingWebhookConfigurations().Get(t.Context(), "dbupgrade-validating-webhook-configuration", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := api.MutatingWebhookConfigurations().Get(t.Context(), "dbupgrade-mutating-webhook-configuration", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]*x509.Certificate{v.Name: parse(t, v.Webhooks[0].ClientConfig.CABundle),
		m.Name: parse(t, m.Webhooks[0].ClientConfig.CABundle)}
}

// served is what each Pod of the webhook has on the wire, by its name.
func served(t *testing.T) map[string]*x509.Certificate {
	t.Helper()
	pods, err := node.Client.CoreV1().Pods(harness.SystemNamespace).List(t.Context(),
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		t.Fatal(err)
	}
	leaves := map[string]*x509.Certificate{}
	for _, pod := range pods.Items {
		out, err := node.Exec("sh", "-c", "openssl s_client -connect "+pod.Status.PodIP+":9443 </dev/null 2>/dev/null")
		if certs := parse(t, []byte(out)); len(certs) > 0 {
			leaves[pod.Name] = certs[0]
		} else {
			t.Logf("%s: no certificate, %v", pod.Name, err)
		}
	}
	return leaves
}

// atTheEnd says why the last rotation has not come to its end: the Pods serve what is in the Secret,
// which is by the last CA, and nobody trusts another.
func atTheEnd(t *testing.T) error {
	t.Helper()
	leaf, ca := certificate(t, servingSecret), certificate(t, caSecret)
	if leaf == nil || ca == nil || leaf.CheckSignatureFrom(ca) != nil {
		return errors.New("the serving certificate is not by the last CA")
	}
	for name, bundle := range trusted(t) {
		if len(bundle) != 1 || !bundle[0].Equal(ca) {
			return fmt.Errorf("%s trusts %d CAs, or another than the last", name, len(bundle))
		}
	}
	leaves := served(t)
	if len(leaves) != webhooks {
		return fmt.Errorf("%d webhooks have answered", len(leaves))
	}
	for name, on := range leaves {
		if !on.Equal(leaf) {
			return fmt.Errorf("%s serves another certificate, until %v", name, on.NotAfter)
		}
	}
	return nil
}

// seen counts the different certificates of a Secret.
type seen map[string]bool

func (s seen) look(t *testing.T, secret string) {
	t.Helper()
	if cert := certificate(t, secret); cert != nil && !s[cert.SerialNumber.String()] {
		s[cert.SerialNumber.String()] = true
		t.Logf("%s: by %q, until %s", secret, cert.Issuer.CommonName, cert.NotAfter.Format(time.TimeOnly))
	}
}

// driver applies one DBUpgrade after the other, each change of a spec that the webhook has to judge.
type driver struct {
	objects dynamic.ResourceInterface
	stop    chan struct{}
	done    sync.WaitGroup

	mu     sync.Mutex
	calls  int
	errors []error
}

func (d *driver) apply(ctx context.Context, name string, deadline int64) error {
	_, err := d.objects.Apply(ctx, name, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"suspend": true, "migrations": map[string]any{"image": "shop/migrations:1"},
			"runner": map[string]any{"activeDeadlineSeconds": deadline},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
				"urlSecretRef": map[string]any{"name": "db", "key": "url"}}}},
	}}, metav1.ApplyOptions{FieldManager: "rotation", Force: true})
	return err
}

// drive makes several requests a second from each of some clients until stop.
func drive(t *testing.T, ns string) *driver {
	d := &driver{objects: node.Dynamic.Resource(harness.DBUpgrades).Namespace(ns), stop: make(chan struct{})}
	for client := range 3 {
		d.done.Go(func() {
			for deadline := int64(1000); ; deadline++ {
				err := d.apply(t.Context(), fmt.Sprint("shop-", client), deadline)
				d.mu.Lock()
				d.calls++
				if err != nil {
					d.errors = append(d.errors, fmt.Errorf("%s: %w", time.Now().Format(time.TimeOnly), err))
				}
				d.mu.Unlock()
				select {
				case <-d.stop:
					return
				case <-time.After(150 * time.Millisecond):
				}
			}
		})
	}
	return d
}

func (d *driver) end(t *testing.T) {
	t.Helper()
	close(d.stop)
	d.done.Wait()
	t.Logf("%d applies, %d failed", d.calls, len(d.errors))
	if len(d.errors) > 0 {
		t.Errorf("the first and the last failure: %v; %v", d.errors[0], d.errors[len(d.errors)-1])
	}
	if d.calls < 100 {
		t.Errorf("so few prove nothing")
	}
}

// askShort gives the reconciler short lifetimes and takes its CA away: what is served then, by a CA
// that nobody can sign with any more, has to stay trusted until its successor is served.
func askShort(t *testing.T) {
	t.Helper()
	const name = "dbupgrade-reconciler"
	deployments := node.Client.AppsV1().Deployments(harness.SystemNamespace)
	var patch string
	for _, flag := range short {
		patch += fmt.Sprintf(`,{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":%q}`, flag)
	}
	if _, err := deployments.Patch(t.Context(), name, types.JSONPatchType, []byte("["+patch[1:]+"]"), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := node.AwaitOperator(); err != nil {
		t.Fatal(err)
	}
	if err := node.Client.CoreV1().Secrets(harness.SystemNamespace).Delete(t.Context(), caSecret, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Secrets are looked at once a minute, and when a webhook configuration changes.
	node.Kubectl(t, "annotate", "mutatingwebhookconfigurations", "dbupgrade-mutating-webhook-configuration", "look=now")
}

func TestNobodyNoticesRotations(t *testing.T) {
	ns := node.Namespace(t)
	d := drive(t, ns)
	askShort(t)
	cas, leaves := seen{}, seen{}
	harness.Eventually(t, patience, "rotations", func() error {
		cas.look(t, caSecret)
		leaves.look(t, servingSecret)
		if len(cas) <= rotations {
			return fmt.Errorf("%d CAs so far", len(cas))
		}
		return nil
	})
	if len(leaves) <= 2*rotations-1 {
		t.Errorf("only %d serving certificates by %d CAs", len(leaves), len(cas))
	}
	harness.Eventually(t, patience, "the last rotation's end", func() error { return atTheEnd(t) })
	d.end(t)
	if t.Failed() {
		t.Log(node.OperatorLogs())
	}
}
