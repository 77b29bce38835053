// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

// world is a namespace with a kubelet, two reconcilers, a webhook that the API server calls, and a
// Prometheus that looks at all of them.
type world struct {
	*testing.T
	ns          string
	kubelet     *harness.Kubelet
	webhook     *harness.Webhook
	reconcilers []*reconciler
	prometheus  string // URL
}

// reconciler is one with its address, which a successor keeps as a pod keeps its own.
type reconciler struct {
	*harness.Process
	name, address string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, ns: cluster.Namespace(t)}
	w.kubelet = cluster.NewKubelet(t, w.ns)
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(w.ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	w.webhook = harness.StartWebhook(t)
	w.webhook.CA.Write(t, w.webhook.Dir, 80*24*time.Hour) // not one that an alert is for
	for _, name := range []string{"dbupgrade-reconciler-1", "dbupgrade-reconciler-2"} {
		r := &reconciler{name: name, address: harness.FreeAddress(t)}
		w.reconcilers = append(w.reconcilers, r)
		w.start(r)
	}
	w.startPrometheus()
	return w
}

func (w *world) start(r *reconciler) {
	w.Helper()
	r.Process = harness.StartReconciler(w, cluster.ReconcilerKubeconfig(w, "", nil), "--namespace="+w.ns,
		"--leader-elect", "--operator-namespace="+harness.SystemNamespace, "--pod-name="+r.name,
		"--metrics-bind-address="+r.address)
}

// startPrometheus starts it with the shipped alerts and the labels that the PodMonitor would give.
func (w *world) startPrometheus() {
	w.Helper()
	dir := w.TempDir()
	writeRules(w, readRules(w), filepath.Join(dir, "rules.yaml"))
	pod := func(name, address string) map[string]any {
		return map[string]any{"targets": []string{address},
			"labels": map[string]string{"namespace": harness.SystemNamespace, "pod": name}}
	}
	targets := []any{pod("dbupgrade-webhook-1", mustParse(w, w.webhook.Meters).Host)}
	for _, r := range w.reconcilers {
		targets = append(targets, pod(r.name, r.address))
	}
	c := cluster.Config
	api := map[string]any{"job_name": "apiserver", "scheme": "https", "scrape_interval": "5s",
		"tls_config":     map[string]any{"ca_file": c.CAFile, "cert_file": c.CertFile, "key_file": c.KeyFile},
		"static_configs": []any{map[string]any{"targets": []string{mustParse(w, c.Host).Host}}},
		"metric_relabel_configs": []any{map[string]any{"source_labels": []string{"__name__"},
			"regex": "apiserver_admission_webhook_.*", "action": "keep"}}}
	config, err := yaml.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{filepath.Join(dir, "rules.yaml")},
		"scrape_configs": []any{map[string]any{"job_name": "dbupgrade", "static_configs": targets}, api},
	})
	if err != nil {
		w.Fatal(err)
	}
	harness.WriteFile(w, filepath.Join(dir, "prometheus.yaml"), config)
	address := harness.FreeAddress(w)
	w.prometheus = "http://" + address
	harness.StartProcess(w, "/usr/bin/prometheus", "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn")
	harness.Eventually(w, harness.Patience, "Prometheus has scraped everything", func() error {
		found, err := w.query(`count(up == 1)`)
		if err == nil && (len(found) != 1 || found[0].Value[1] != fmt.Sprint(len(targets)+1)) {
			err = fmt.Errorf("targets that are up: %v", found)
		}
		return err
	})
}

func mustParse(t testing.TB, text string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// sample is one of an instant query.
type sample struct {
	Metric map[string]string
	Value  [2]any // time, text
}

func (w *world) query(expr string) ([]sample, error) {
	var answer struct{ Result []sample }
	return answer.Result, w.ask(&answer, "query", url.Values{"query": {expr}})
}

// ask calls Prometheus' API.
func (w *world) ask(into any, what string, values url.Values) error {
	response, err := http.Get(w.prometheus + "/api/v1/" + what + "?" + values.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", response.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s %s: %s", what, values, answer.Error)
	}
	return nil
}

// callWebhook makes the API server call a webhook at this address for changes of DBUpgrades here.
func (w *world) callWebhook(address string) {
	w.Helper()
	configurations := cluster.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	where, none, fail := "https://"+address+harness.ValidatePath, admissionv1.SideEffectClassNone, admissionv1.Fail
	_ = configurations.Delete(w.Context(), w.ns, metav1.DeleteOptions{})
	_, err := configurations.Create(w.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: w.ns},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "validate.dbupgrade.subbug.learning", AdmissionReviewVersions: []string{"v1"},
			ClientConfig:  admissionv1.WebhookClientConfig{URL: &where, CABundle: w.webhook.CA.PEM},
			FailurePolicy: &fail, SideEffects: &none,
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.ns}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule: admissionv1.Rule{APIGroups: []string{"dbupgrade.subbug.learning"},
					APIVersions: []string{"v1alpha1"}, Resources: []string{"dbupgrades"}}}},
		}}}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		_ = configurations.Delete(context.Background(), w.ns, metav1.DeleteOptions{})
	})
}

func (w *world) secret(name string) {
	w.Helper()
	_, err := cluster.Client.CoreV1().Secrets(w.ns).Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"url": "postgres://db/app"}}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
}

// upgrade is one of an image tag; edit changes its spec.
func upgrade(name, tag, secret string, edit ...func(spec map[string]any)) *unstructured.Unstructured {
	spec := map[string]any{
		"migrations": map[string]any{"image": "shop/migrations:" + tag},
		"database": map[string]any{"type": "selfHosted", "connection": map[string]any{
			"urlSecretRef": map[string]any{"name": secret, "key": "url"}}},
	}
	for _, e := range edit {
		e(spec)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
		"metadata": map[string]any{"name": name}, "spec": spec}}
}

func suspended(spec map[string]any) { spec["suspend"] = true }

func guarded(spec map[string]any) {
	spec["checks"] = map[string]any{"pre": map[string]any{"minPodVersions": []any{map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"app": "shop"}}, "minVersion": "1.0.0"}}}}
}

func (w *world) try(object *unstructured.Unstructured, options metav1.CreateOptions) error {
	_, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(w.ns).Create(w.Context(), object, options)
	return err
}

func (w *world) create(object *unstructured.Unstructured) {
	w.Helper()
	if err := w.try(object, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// image changes the migrations image of an object.
func (w *world) image(name, tag string) {
	w.Helper()
	patch := fmt.Sprintf(`{"spec":{"migrations":{"image":"shop/migrations:%s"}}}`, tag)
	_, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(w.ns).
		Patch(w.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		w.Fatal(err)
	}
}

// await waits until an object's status gives this reason.
func (w *world) await(name, reason string) {
	w.Helper()
	harness.Eventually(w, harness.Patience, name+": "+reason, func() error {
		object, err := cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(w.ns).Get(w.Context(), name, metav1.GetOptions{})
		if err == nil && harness.Text(object, "status", "reason") != reason {
			err = fmt.Errorf("%s: %s", harness.Text(object, "status", "reason"), harness.Text(object, "status", "message"))
		}
		return err
	})
}
