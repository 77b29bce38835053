// SPDX-License-Identifier: Apache-2.0

// Package webhook judges the webhook as a process: over HTTPS, and behind a real API server.
package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) { os.Exit(harness.Run(m, &cluster)) }

const uid = "0d4cf2c9-4a5c-4c9a-8d4e-6a1c3f1e2b11"

// review is what the API server sends for a case.
func review(t testing.TB, c *harness.AdmissionCase) []byte {
	t.Helper()
	request := &admissionv1.AdmissionRequest{
		UID: uid, Name: "shop", Namespace: "prod", Operation: admissionv1.Operation(c.Operation),
		Kind:     metav1.GroupVersionKind{Group: "dbupgrade.subbug.learning", Version: "v1alpha1", Kind: "DBUpgrade"},
		Resource: metav1.GroupVersionResource{Group: "dbupgrade.subbug.learning", Version: "v1alpha1", Resource: "dbupgrades"},
		Object:   object(t, c, false),
	}
	if c.Operation == "UPDATE" {
		request.OldObject = object(t, c, true)
	}
	text, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func object(t testing.TB, c *harness.AdmissionCase, old bool) runtime.RawExtension {
	t.Helper()
	content, err := c.Object(old, "prod", "shop")
	if err != nil {
		t.Fatal(err)
	}
	metadata := content["metadata"].(map[string]any)
	metadata["uid"] = uid
	if c.Deleting {
		metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	}
	if c.OldStatus != nil {
		content["status"] = c.OldStatus
	}
	text, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: text}
}

// ask sends a review and reads the answer strictly.
func ask(t testing.TB, w *harness.Webhook, client *http.Client, path string, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	status, text, err := w.Post(t.Context(), client, path, body)
	if err != nil || status != http.StatusOK {
		t.Fatalf("HTTP %d, %v: %s", status, err, text)
	}
	var answer admissionv1.AdmissionReview
	if err := yaml.UnmarshalStrict(text, &answer); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" || answer.Response == nil || answer.Response.UID != uid {
		t.Fatalf("not the answer to this review: %s", text)
	}
	return answer.Response
}

// TestAdmissionTable sends every case of tests/data/admission to both paths.
func TestAdmissionTable(t *testing.T) {
	cases, err := harness.AdmissionCases()
	if err != nil {
		t.Fatal(err)
	}
	w := harness.StartWebhook(t)
	client := w.Client()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			body := review(t, &c)
			compare(t, &c, ask(t, w, client, harness.MutatePath, body), true)
			compare(t, &c, ask(t, w, client, harness.ValidatePath, body), false)
		})
	}
}

func compare(t *testing.T, c *harness.AdmissionCase, got *admissionv1.AdmissionResponse, mutating bool) {
	t.Helper()
	if got.Allowed != c.Webhook.Allowed {
		t.Fatalf("allowed: want %v, got %+v", c.Webhook.Allowed, got)
	}
	var causes []harness.AdmissionCause
	if !got.Allowed {
		if got.Result.Code != 422 || got.Result.Reason != metav1.StatusReasonInvalid || got.Result.Details.Kind != "DBUpgrade" {
			t.Errorf("status: %+v", got.Result)
		}
		for _, cause := range got.Result.Details.Causes {
			causes = append(causes, harness.AdmissionCause{Reason: string(cause.Type), Field: cause.Field, Message: cause.Message})
			if !strings.Contains(got.Result.Message, cause.Message) {
				t.Errorf("%q is not in %q", cause.Message, got.Result.Message)
			}
		}
	}
	same(t, "causes", c.Webhook.Causes, causes)
	var patch []map[string]any
	if got.Patch != nil {
		if err := json.Unmarshal(got.Patch, &patch); err != nil || *got.PatchType != admissionv1.PatchTypeJSONPatch {
			t.Errorf("patch: %v %s", err, got.Patch)
		}
	}
	if mutating {
		same(t, "patch", c.Webhook.Patch, patch)
		same(t, "warnings", nil, got.Warnings)
	} else {
		same(t, "patch", nil, patch)
		same(t, "warnings", c.Webhook.Warnings, got.Warnings)
	}
}

func same[T any](t *testing.T, what string, want, got []T) {
	t.Helper()
	if len(want)+len(got) > 0 && !reflect.DeepEqual(want, got) {
		t.Errorf("%s: want %v, got %v", what, want, got)
	}
}

// configurations are the shipped ones.
func configurations(t *testing.T) (v admissionregistrationv1.ValidatingWebhookConfiguration,
	m admissionregistrationv1.MutatingWebhookConfiguration) {
	t.Helper()
	text, err := os.ReadFile(harness.Root("manifests", "base", "webhook-configurations.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	validating, mutating, _ := strings.Cut(string(text), "\n---\n")
	if err := yaml.UnmarshalStrict([]byte(validating), &v); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(mutating), &m); err != nil {
		t.Fatal(err)
	}
	return v, m
}

// timeout is how long the API server waits for the webhook.
func timeout(t *testing.T) time.Duration {
	t.Helper()
	v, m := configurations(t)
	return time.Duration(min(*v.Webhooks[0].TimeoutSeconds, *m.Webhooks[0].TimeoutSeconds)) * time.Second
}

// register has the API server ask the webhook, by the shipped configurations.
func register(t *testing.T, w *harness.Webhook) {
	t.Helper()
	v, m := configurations(t)
	client := func(path string) admissionregistrationv1.WebhookClientConfig {
		url := "https://" + w.Addr + path
		return admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: w.CA.PEM}
	}
	v.Webhooks[0].ClientConfig = client(harness.ValidatePath)
	m.Webhooks[0].ClientConfig = client(harness.MutatePath)
	api := cluster.Client.AdmissionregistrationV1()
	if _, err := api.ValidatingWebhookConfigurations().Create(t.Context(), &v, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.MutatingWebhookConfigurations().Create(t.Context(), &m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cluster.Kubectl(t, "delete", "validatingwebhookconfiguration", v.Name)
		cluster.Kubectl(t, "delete", "mutatingwebhookconfiguration", m.Name)
	})
}

const threeMistakes = `
apiVersion: dbupgrade.subbug.learning/v1alpha1
kind: DBUpgrade
metadata: {name: shop}
spec:
  migrations: {image: "shop/migrations:1; rm", dir: relative}
  database: {type: oracle, connection: {urlSecretRef: {name: db}}}
`

const good = `
apiVersion: dbupgrade.subbug.learning/v1alpha1
kind: DBUpgrade
metadata: {name: shop}
spec:
  migrations: {image: "shop/migrations:1"}
  database: {type: selfHosted, connection: {urlSecretRef: {name: db}}}
`

// What a person sees.
func TestBehindTheAPIServer(t *testing.T) {
	w := harness.StartWebhook(t)
	register(t, w)
	ns := cluster.Namespace(t)
	file := t.TempDir() + "/shop.yaml"
	apply := func(text string) (string, error) {
		harness.WriteFile(t, file, []byte(text))
		return cluster.TryKubectl("apply", "-n", ns, "-f", file)
	}
	harness.Eventually(t, 20*time.Second, "the API server asks", func() error {
		_, err := apply(threeMistakes)
		if err == nil {
			return fmt.Errorf("taken")
		}
		for _, words := range []string{`The DBUpgrade "shop" is invalid`, "spec.migrations.image", "spec.migrations.dir", "spec.database.type"} {
			if !strings.Contains(err.Error(), words) {
				return fmt.Errorf("%q is missing: %w", words, err)
			}
		}
		return nil
	})
	if _, err := apply(good); err != nil {
		t.Fatal(err)
	}
	if got := cluster.Kubectl(t, "get", "dbu", "-n", ns, "shop", "-o", "jsonpath={.spec.migrations.dir} {.spec.database.connection.urlSecretRef.key}"); got != "/migrations url" {
		t.Errorf("defaults: %s", got)
	}
	_, err := cluster.TryKubectl("patch", "dbu", "-n", ns, "shop", "--type=merge", "-p", `{"spec":{"database":{"connection":{"urlSecretRef":{"name":"other"}}}}}`)
	if err == nil || !strings.Contains(err.Error(), "is immutable (cannot change from db/url to other/url)") {
		t.Errorf("an immutable member: %v", err)
	}
	w.Stop(t)
	for _, args := range [][]string{
		{"label", "dbu", "-n", ns, "shop", "a=b"},
		{"annotate", "dbu", "-n", ns, "shop", "dbupgrade.subbug.learning/retry=1"},
		{"delete", "dbu", "-n", ns, "shop", "--wait=false"},
	} {
		if _, err := cluster.TryKubectl(args...); err != nil {
			t.Errorf("while the webhook is down: %v", err)
		}
	}
	if _, err := apply(good); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("a new object while the webhook is down: %v", err)
	}
}

// scrape reads its metrics.
func scrape(t testing.TB, w *harness.Webhook) string {
	t.Helper()
	response, err := http.Get(w.Meters)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// requests are its metrics by series.
func requests(t testing.TB, w *harness.Webhook) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(scrape(t, w)) {
		if series, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			got[series] = value
		}
	}
	return got
}
