// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"dbupgrade/tests/cluster/e2e/gitops"
	"dbupgrade/tests/cluster/e2e/harness"
)

// verdict is what the tools say about an object in one situation.
type verdict struct {
	situation  string
	play       func(w *world) // brings the object "shop" into it
	conditions string         // as they are then

	kstatus, argocd, flux string
	wait                  string // the condition whose kubectl wait ends: Ready, Stalled or none

	strict string // what Flux says with the stricter expressions of docs/gitops.md; empty: the same
}

// One row for each of the situations that the documentation knows, and for those between a change
// and the moment in which the operator has seen it.
var verdicts = []verdict{
	{"not seen yet", func(w *world) { w.create("shop", specOf("ok-1")) },
		"", "InProgress", "Progressing", "InProgress", "", ""},
	{"seen, nothing started", playSeen, seen, "InProgress", "Progressing", "InProgress", "", ""},
	{"the spec is invalid, with the webhook off", func(w *world) {
		w.start()
		w.create("shop", specOf("ok-1", set(map[string]any{"a": strings.Repeat("x", 16<<10)}, "runner", "podAnnotations")))
	}, invalid, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"the spec is invalid, and an earlier one still runs", func(w *world) {
		w.playRunning()
		w.patch("shop", map[string]any{"spec": map[string]any{"runner": map[string]any{
			"podAnnotations": map[string]any{"a": strings.Repeat("x", 16<<10)}}}})
	}, invalidBusy, "InProgress", "Progressing", "InProgress", "", "Failed"},
	{"Secret or key missing", func(w *world) {
		w.start()
		w.create("shop", specOf("ok-1"))
	}, secretMiss, "InProgress", "Progressing", "InProgress", "", "Failed"},
	{"AWS type", func(w *world) {
		w.start()
		w.create("shop", rdsSpec())
	}, aws, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"pre-checks present", func(w *world) {
		w.start()
		w.create("shop", specOf("ok-1", set([]any{map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app": "shop"}}, "minVersion": "1.2.3"}},
			"checks", "pre", "minPodVersions")))
	}, checks, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"suspended", func(w *world) {
		w.start()
		w.create("shop", specOf("ok-1", set(true, "suspend")))
	}, suspended, "InProgress", "Suspended", "InProgress", "", ""},
	{"suspended, and applied before", func(w *world) {
		w.playDone()
		w.patch("shop", map[string]any{"spec": map[string]any{"suspend": true}})
	}, suspendedDone, "Current", "Healthy", "Current", "Ready", ""},
	{"waiting for an older Job or Pod", func(w *world) {
		w.kubelet.HoldDeleted = true
		w.deleteJob(w.playRunning(), metav1.DeletePropagationBackground)
		w.await("shop", lost)
		w.image("shop", "ok-2")
		w.await("shop", running, "Waiting for the Pod ")
	}, running, "InProgress", "Progressing", "InProgress", "", ""},
	{"Job pending (its image cannot be pulled)", func(w *world) {
		w.start()
		w.db()
		w.create("shop", specOf("typo-1"))
		w.await("shop", running, "ImagePullBackOff")
	}, running, "InProgress", "Progressing", "InProgress", "", ""},
	{"Job running", func(w *world) { w.playRunning() }, running, "InProgress", "Progressing", "InProgress", "", ""},
	{"Job succeeded", func(w *world) { w.playDone() }, done, "Current", "Healthy", "Current", "Ready", ""},
	{"Job failed", func(w *world) { w.playFailed() }, failed, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"Job lost", func(w *world) { w.deleteJob(w.playRunning(), metav1.DeletePropagationBackground) },
		lost, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"Job refused, may pass later (a quota)", func(w *world) {
		w.quota("count/jobs.batch", "0")
		w.db()
		w.start()
		w.create("shop", specOf("ok-1"))
	}, rejected, "InProgress", "Progressing", "InProgress", "", "Failed"},
	{"Job refused for good", func(w *world) {
		w.db()
		w.start()
		w.create("shop", specOf("ok-1", set([]any{map[string]any{"operater": "Exists"}}, "runner", "tolerations")))
	}, refused, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"a right is missing", func(w *world) {
		w.db()
		kubeconfig, _ := w.poorAccount("create", "jobs")
		harness.StartReconciler(w, kubeconfig, "--namespace="+w.ns)
		w.create("shop", specOf("ok-1"))
	}, forbidden, "InProgress", "Progressing", "InProgress", "", "Failed"},
	{"a foreign Job has our name", playForeignJob, conflict, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"applied, and a new spec not seen yet", func(w *world) {
		w.playDone().Stop(w.T)
		w.image("shop", "ok-2")
	}, done, "InProgress", "Progressing", "InProgress", "", ""},
	{"failed, and a new spec not seen yet", func(w *world) {
		w.playFailed().Stop(w.T)
		w.image("shop", "ok-2")
	}, failed, "InProgress", "Progressing", "InProgress", "", ""},
	{"applied, and a retry not seen yet", func(w *world) {
		w.playDone().Stop(w.T)
		w.retry("shop", "1")
	}, done, "Current", "Progressing", "InProgress", "Ready", "Current"},
	{"failed, and a retry not seen yet", func(w *world) {
		w.playFailed().Stop(w.T)
		w.retry("shop", "1")
	}, failed, "Failed", "Progressing", "InProgress", "Stalled", "Failed"},
	{"failed again after a retry", func(w *world) {
		w.playFailed()
		w.retry("shop", "1")
		w.awaitRuns("fail-1", "fail-1")
	}, failed, "Failed", "Degraded", "Failed", "Stalled", ""},
	{"being deleted while it runs", func(w *world) {
		w.kubelet.HoldDeleted = true
		w.playRunning()
		w.delete("shop", metav1.DeletePropagationForeground)
	}, running, "Terminating", "Progressing", "InProgress", "", ""},
}

// suspendedDone: what was applied stays so.
var suspendedDone = strings.Replace(done, "Blocked=False/Idle", "Blocked=True/Suspended", 1)

func (w *world) playDone() *harness.Process {
	w.Helper()
	w.db()
	r := w.start()
	w.create("shop", specOf("ok-1"))
	w.await("shop", done)
	return r
}

func (w *world) playFailed() *harness.Process {
	w.Helper()
	w.db()
	r := w.start()
	w.create("shop", specOf("fail-1"))
	w.await("shop", failed)
	return r
}

// playRunning returns the name of the Job.
func (w *world) playRunning() string {
	w.Helper()
	w.db()
	w.start()
	w.create("shop", specOf("hang-1"))
	return w.awaitRun("shop", "hang-1")
}

// playSeen ends a run of an earlier spec and then keeps the Secret's answer away.
func playSeen(w *world) {
	w.db()
	proxy := cluster.NewProxy(w)
	var away atomic.Bool
	proxy.Before = func(e *harness.Exchange) bool {
		return !away.Load() || !strings.Contains(e.URL, "/secrets/")
	}
	w.startBehind(proxy)
	w.create("shop", specOf("hang-1"))
	w.awaitRun("shop", "hang-1")
	w.image("shop", "ok-2")
	away.Store(true)
	w.kubelet.Finish("hang-1", 0)
}

// TestVerdicts brings an object into each situation and asks every tool; docs/gitops.md has the same
// table.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	script, err := gitops.HealthScript()
	if err != nil {
		t.Fatal(err)
	}
	exprs, err := gitops.FluxExpressions()
	if err != nil {
		t.Fatal(err)
	}
	strict, err := gitops.StrictExpressions()
	if err != nil {
		t.Fatal(err)
	}
	table := "| situation | kstatus (Flux, Helm 4) | Argo CD | Flux with expressions | … stricter ones | `kubectl wait` ends for |\n|---|---|---|---|---|---|\n"
	for _, v := range verdicts {
		wait := v.wait
		if wait == "" {
			wait = "–"
		}
		if v.strict == "" {
			v.strict = v.flux
		}
		table += fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", v.situation, v.kstatus, v.argocd, v.flux, v.strict, wait)
		t.Run(v.situation, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			v.play(w)
			object := w.awaitConditions("shop", v.conditions)
			kstatus, err := gitops.KStatus(object)
			same(t, "kstatus", v.kstatus, kstatus, err)
			health, message, err := gitops.ArgoCD(script, object)
			same(t, "Argo CD", v.argocd, health, err)
			if message == "" {
				t.Error("Argo CD: no message")
			}
			flux, err := gitops.Flux(exprs, object)
			same(t, "Flux", v.flux, flux, err)
			flux, err = gitops.Flux(strict, object)
			same(t, "Flux, stricter", v.strict, flux, err)
			for _, condition := range []string{"Ready", "Stalled"} {
				_, err := cluster.TryKubectl("wait", "-n", w.ns, "dbu/shop", "--for=condition="+condition, "--timeout=0")
				if ends := err == nil; ends != (v.wait == condition) {
					t.Errorf("kubectl wait for %s ends: %v (%v)", condition, ends, err)
				}
			}
		})
	}
	harness.Document(t, harness.Root("docs", "gitops.md"), "verdicts", table)
	harness.Document(t, harness.Root("docs", "api.md"), "conditions", conditionsTable())
}

// conditionsTable is the conditions of each situation. T and F are their status.
func conditionsTable() string {
	table := "| situation | Accepted | Ready | Progressing | Degraded | Blocked | Reconciling, Stalled |\n|---|---|---|---|---|---|---|\n"
	short := strings.NewReplacer("True/", "T ", "False/", "F ")
	for _, v := range verdicts {
		if v.conditions == "" || strings.Contains(v.situation, "not seen yet") {
			continue // no pass has judged it
		}
		cells := []string{v.situation}
		for _, word := range strings.Fields(v.conditions) {
			_, value, _ := strings.Cut(word, "=")
			cells = append(cells, short.Replace(value))
		}
		if last := v.conditions[strings.LastIndex(v.conditions, " ")+1:]; strings.Contains(last, "=") {
			cells = append(cells, "–")
		} else {
			cells[len(cells)-1] = last
		}
		table += "| " + strings.Join(cells, " | ") + " |\n"
	}
	return table
}

func same(t *testing.T, who, want, got string, err error) {
	t.Helper()
	if err != nil || got != want {
		t.Errorf("%s: want %s, got %s, %v", who, want, got, err)
	}
}

// awaitConditions is await for objects whose newest generation may not have been seen.
func (w *world) awaitConditions(name, want string) *unstructured.Unstructured {
	w.Helper()
	var object *unstructured.Unstructured
	harness.Eventually(w, harness.Patience, name, func() error {
		object = w.get(name)
		if got := harness.Conditions(object); got != want {
			return errf("want %s\ngot  %s\nmessage: %s", want, got, message(object))
		}
		return nil
	})
	return object
}

// TestNoDrift: the operator writes nothing that a tool of GitOps has written or would take back, so
// that no field has to be ignored.
func TestNoDrift(t *testing.T) {
	t.Parallel()
	for how, args := range map[string][]string{
		"applied by the client, as Argo CD does":            {"apply"},
		"applied by the server, as Flux and Argo CD can do": {"apply", "--server-side", "--field-manager=gitops"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			w.start()
			manifest := "apiVersion: dbupgrade.subbug.learning/v1alpha1\nkind: DBUpgrade\nmetadata: {name: shop}\nspec:\n" +
				"  migrations: {image: " + image("ok-1") + "}\n" +
				"  database: {type: selfHosted, connection: {urlSecretRef: {name: db}}}\n"
			kubectl := func(args ...string) {
				t.Helper()
				if _, err := cluster.KubectlInput(manifest, append(args, "-n", w.ns, "-f", "-")...); err != nil {
					t.Errorf("kubectl %s: %v", args, err)
				}
			}
			diff := append([]string{"diff"}, args[1:]...)
			kubectl(args...)
			w.await("shop", done)
			kubectl(diff...)
			w.retry("shop", "by hand")
			w.awaitRuns("ok-1", "ok-1")
			object := w.await("shop", done)
			kubectl(diff...)
			w.patch("shop", map[string]any{"spec": map[string]any{"suspend": true}})
			object = w.await("shop", suspendedDone)
			kubectl(diff...)
			kubectl(args...)
			if after := w.get("shop"); after.GetResourceVersion() != object.GetResourceVersion() {
				t.Errorf("applying it again changed it: %v", after)
			}
			for _, entry := range object.GetManagedFields() {
				if entry.Manager == "dbupgrade-reconciler" && (entry.Subresource != "status" || !strings.HasPrefix(string(entry.FieldsV1.Raw), `{"f:status":`)) {
					t.Errorf("the operator wrote %s of %q", entry.FieldsV1.Raw, entry.Subresource)
				}
			}
		})
	}
}

// TestWaitingForEitherEnd runs the commands of docs/gitops.md.
func TestWaitingForEitherEnd(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(harness.Root("docs", "gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(text), "\n```sh\n")
	script, _, _ = strings.Cut(script, "\n```\n")
	for how, play := range map[string]func(w *world) *harness.Process{
		"Migration completed": (*world).playDone, "Migration failed": (*world).playFailed} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			play(w)
			kubectl := filepath.Join(t.TempDir(), "kubectl")
			harness.WriteFile(t, kubectl, fmt.Appendf(nil, "#!/bin/sh\nexec %s kubectl --kubeconfig %s -n %s \"$@\"\n",
				harness.Kube(), cluster.Kubeconfig, w.ns))
			if err := os.Chmod(kubectl, 0o700); err != nil {
				t.Fatal(err)
			}
			shell := exec.CommandContext(t.Context(), "bash", "-c", "set -euo pipefail\n"+script)
			shell.Env = append(os.Environ(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
			out, err := shell.CombinedOutput()
			if applied := how == "Migration completed"; (err == nil) != applied || !strings.Contains(string(out), how) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
