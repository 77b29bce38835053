// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"dbupgrade/tests/cluster/e2e/harness"
)

// password is that of every database of these tests, and must be in their Secrets only.
const password = "correct-horse-battery"

// The situations of the documentation's table, as harness.Conditions writes them.
const (
	secretMissing = "Accepted=True/ValidSpec Ready=False/Initializing Progressing=False/Idle Degraded=True/SecretNotFound Blocked=False/Idle Reconciling"
	running       = "Accepted=True/ValidSpec Ready=False/JobRunning Progressing=True/MigrationInProgress Degraded=False/Idle Blocked=False/Idle Reconciling"
	done          = "Accepted=True/ValidSpec Ready=True/MigrationComplete Progressing=False/Idle Degraded=False/Idle Blocked=False/Idle"
	failed        = "Accepted=True/ValidSpec Ready=False/JobFailed Progressing=False/Idle Degraded=True/MigrationFailed Blocked=False/Idle Stalled"
	rejected      = "Accepted=True/ValidSpec Ready=False/JobRejected Progressing=False/Idle Degraded=True/JobRejected Blocked=False/Idle Reconciling"
)

// world is a namespace with a database, in which a test plays with one DBUpgrade, "shop".
type world struct {
	*testing.T
	ns       string // also the name of the database and its user
	upgrades dynamic.ResourceInterface
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ns := node.Namespace(t)
	w := &world{t, ns, node.Dynamic.Resource(harness.DBUpgrades).Namespace(ns)}
	t.Cleanup(w.end)
	w.kubectl("apply", "-f", harness.Root("tests", "cluster", "postgres.yaml"))
	// The default template would have to be without other sessions, such as another test's.
	for _, query := range []string{`CREATE ROLE "%[1]s" LOGIN PASSWORD '%[2]s'`,
		`CREATE DATABASE "%[1]s" OWNER "%[1]s" TEMPLATE template0`} {
		node.SQL(t, "app", fmt.Sprintf(query, ns, password))
	}
	// Without it no Pod is admitted: the Job controller would try again later and later.
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := node.Client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return w
}

// end shows what a person would look at when the test has failed.
func (w *world) end() {
	if !w.Failed() {
		return
	}
	for _, args := range [][]string{{"get", "dbu,jobs,pods", "-o", "wide"}, {"describe", "dbu"},
		{"get", "events", "--sort-by=metadata.creationTimestamp"},
		{"logs", "--tail=20", "--prefix", "-l", "app.kubernetes.io/name=dbupgrade-migration"}} {
		out, err := node.TryKubectl(append([]string{"-n", w.ns}, args...)...)
		w.Logf("$ kubectl %s\n%s%v", strings.Join(args, " "), out, err)
	}
	for line := range strings.Lines(node.OperatorLogs()) {
		if strings.Contains(line, w.ns) {
			w.Log(line)
		}
	}
}

// kubectl runs kubectl in the test's namespace and returns what it printed.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	return node.Kubectl(w, append([]string{"-n", w.ns}, args...)...)
}

// creation is the time at which an object was created.
func (w *world) creation(object string) time.Time {
	w.Helper()
	text := w.kubectl("get", object, "-o", "jsonpath={.metadata.creationTimestamp}")
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		w.Fatal(err)
	}
	return when
}

// applyYAML applies a manifest. The error is what a user reads on stderr.
func (w *world) applyYAML(manifest string) error {
	_, err := node.KubectlInput(manifest, "-n", w.ns, "apply", "-f", "-")
	return err
}

// apply applies the DBUpgrade with the tag of an image of tests/cluster/images, and with members of
// spec.runner.
func (w *world) apply(tag string, runner ...string) {
	w.Helper()
	err := w.applyYAML(fmt.Sprintf(`
apiVersion: dbupgrade.subbug.learning/v1alpha1
kind: DBUpgrade
metadata: {name: shop}
spec:
  migrations: {image: "localhost/migrations:%s"}
  database: {type: selfHosted, connection: {urlSecretRef: {name: db}}}
  runner: {%s}
`, tag, strings.Join(runner, ", ")))
	if err != nil {
		w.Fatal(err)
	}
}

// secret makes the connection Secret.
func (w *world) secret() {
	w.Helper()
	w.kubectl("create", "secret", "generic", "db", "--from-literal=url="+w.url(password))
}

// url is that of the database, with some password.
func (w *world) url(password string) string {
	return fmt.Sprintf("postgres://%[1]s:%[2]s@postgres.%[1]s.svc:5432/%[1]s?sslmode=disable", w.ns, password)
}

// patchURL changes the Secret.
func (w *world) patchURL(url string) {
	w.Helper()
	w.kubectl("patch", "secret", "db", "--type=merge", "-p", fmt.Sprintf(`{"stringData": {"url": %q}}`, url))
}

// image changes the image.
func (w *world) image(tag string) {
	w.Helper()
	w.kubectl("patch", "dbu", "shop", "--type=merge", "-p",
		fmt.Sprintf(`{"spec": {"migrations": {"image": "localhost/migrations:%s"}}}`, tag))
}

// runner changes spec.runner; a member is removed by null.
func (w *world) runner(members string) {
	w.Helper()
	w.kubectl("patch", "dbu", "shop", "--type=merge", "-p", `{"spec": {"runner": {`+members+`}}}`)
}

// wait waits as users do.
func (w *world) wait(condition string) {
	w.Helper()
	w.kubectl("wait", "--for=condition="+condition, "dbu/shop", "--timeout="+harness.Patience.String())
}

func (w *world) get() *unstructured.Unstructured {
	w.Helper()
	object, err := w.upgrades.Get(w.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return object
}

func message(object *unstructured.Unstructured) string {
	return harness.Text(object, "status", "message")
}

// await waits until the DBUpgrade is in a situation, for its newest generation, and its message has
// these parts.
func (w *world) await(situation string, inMessage ...string) *unstructured.Unstructured {
	w.Helper()
	var object *unstructured.Unstructured
	harness.Eventually(w, harness.Patience, "shop", func() error {
		object = w.get()
		generation, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
		if got := harness.Conditions(object); got != situation || generation != object.GetGeneration() {
			return fmt.Errorf("generation %d of %d\nwant %s\ngot  %s\nmessage: %s",
				generation, object.GetGeneration(), situation, got, message(object))
		}
		for _, part := range inMessage {
			if !strings.Contains(message(object), part) {
				return fmt.Errorf("%q is not in the message: %s", part, message(object))
			}
		}
		return nil
	})
	w.checkMessages(object)
	return object
}

// awaitRunning waits until the migration's container runs, and returns its Job's name.
func (w *world) awaitRunning() string {
	w.Helper()
	object := w.await(running, " is running")
	return harness.Text(object, "status", "jobName")
}

// checkMessages checks that whoever reads only one of the texts is told the cause.
func (w *world) checkMessages(object *unstructured.Unstructured) {
	w.Helper()
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, item := range conditions {
		c := item.(map[string]any)
		if c["observedGeneration"] != object.GetGeneration() {
			w.Errorf("%s: observedGeneration %v of generation %d", c["type"], c["observedGeneration"], object.GetGeneration())
		}
		if c["type"] == "Ready" && c["message"] != message(object) {
			w.Errorf("Ready says %q, status.message %q", c["message"], message(object))
		}
	}
}

// wantShown checks that a text has these parts.
func (w *world) wantShown(text string, parts ...string) {
	w.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			w.Errorf("%q is not shown:\n%s", part, text)
		}
	}
}

// wantReason checks status.reason.
func (w *world) wantReason(object *unstructured.Unstructured, want string) {
	w.Helper()
	if got := harness.Text(object, "status", "reason"); got != want {
		w.Errorf("status.reason: want %s, got %s", want, got)
	}
}

// awaitRuns waits until so many runs have ended.
func (w *world) awaitRuns(count int) {
	w.Helper()
	harness.Eventually(w, harness.Patience, "runs", func() error {
		if history := harness.History(w.get()); len(history) < count {
			return fmt.Errorf("%v", history)
		}
		return nil
	})
}

// wantHistory checks the results of all runs, the newest first.
func (w *world) wantHistory(want ...string) {
	w.Helper()
	if got := harness.History(w.get()); !slices.Equal(got, want) {
		w.Errorf("history: want %v, got %v", want, got)
	}
}

// wantTables checks which tables the database has, besides Atlas's own.
func (w *world) wantTables(want string) {
	w.Helper()
	got := node.SQL(w, w.ns, `SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'`)
	if got != want {
		w.Errorf("tables: want %q, got %q", want, got)
	}
}

// wantJobs checks the names of the Jobs that there are.
func (w *world) wantJobs(want ...string) {
	w.Helper()
	list, err := node.Client.BatchV1().Jobs(w.ns).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	var got []string
	for i := range list.Items {
		got = append(got, list.Items[i].Name)
	}
	if !slices.Equal(got, want) {
		w.Errorf("Jobs: want %v, got %v", want, got)
	}
}

// jobName is that of the last run.
func (w *world) jobName() string {
	w.Helper()
	return harness.Text(w.get(), "status", "jobName")
}

// wantEvents waits for exactly these events about the DBUpgrade, in their order, each
// "Type Reason Action: note"; a note that ends with "…" may go on. MigrationInProgress may come
// unasked: a quick migration's container may have ended before it is seen.
func (w *world) wantEvents(want ...string) {
	w.Helper()
	harness.Eventually(w, harness.Patience, "events", func() error {
		got := slices.DeleteFunc(w.events(), func(e string) bool {
			return strings.Contains(e, "MigrationInProgress") && !slices.Contains(want, e)
		})
		if !slices.EqualFunc(got, want, func(got, want string) bool {
			start, open := strings.CutSuffix(want, "…")
			return got == want || open && strings.HasPrefix(got, start)
		}) {
			return fmt.Errorf("want\n\t%s\ngot\n\t%s", strings.Join(want, "\n\t"), strings.Join(got, "\n\t"))
		}
		return nil
	})
}

// events are those about the DBUpgrade so far. None may have been posted twice.
func (w *world) events() (texts []string) {
	w.Helper()
	list, err := node.Client.EventsV1().Events(w.ns).List(w.Context(),
		metav1.ListOptions{FieldSelector: "regarding.kind=DBUpgrade"})
	if err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	for _, e := range list.Items {
		text := fmt.Sprintf("%s %s %s: %s", e.Type, e.Reason, e.Action, e.Note)
		job := strings.Contains(text, "dbupgrade-shop-") // else a later run may say the same
		if e.Series != nil || e.DeprecatedCount > 1 || job && slices.Contains(texts, text) {
			w.Errorf("posted again: %s", text)
		}
		texts = append(texts, text)
	}
	return texts
}

// evictAll evicts all Pods, as kubectl drain does.
func (w *world) evictAll() {
	w.Helper()
	list, err := node.Client.CoreV1().Pods(w.ns).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for i := range list.Items {
		err := node.Client.CoreV1().Pods(w.ns).EvictV1(w.Context(), &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Name: list.Items[i].Name, Namespace: w.ns}})
		if err != nil {
			w.Fatal(err)
		}
	}
}
