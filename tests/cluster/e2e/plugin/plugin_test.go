// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

// The exit codes, as the documentation has them.
const (
	ok       = 0
	failed   = 1
	usage    = 2
	timeout  = 3
	blocked  = 4
	notFound = 5
	trouble  = 6
	refused  = 7
)

func list(items ...string) []string { return items }

// TestAStory leads one object through its states, and looks at it in each.
func TestAStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.want(w.dbu("list"), ok, "There is no DBUpgrade in the namespace "+w.ns+".")

	w.apply(object("shop", "hang-1"))
	w.eventually(ok, list("shop  waiting", `connection secret "shop-db" not found`), "list")
	w.want(w.dbu("wait", "shop", "--timeout=0"), timeout, "shop: waiting: ")
	w.eventually(timeout, list("Time is up"), "wait", "shop", "--timeout=2s")
	w.want(w.dbu("logs", "shop"), notFound, "shop has not run yet: ", `secret "shop-db"`)
	w.want(w.dbu("retry", "shop"), refused, "there is nothing to retry", "a run starts by itself")
	w.want(w.dbu("status", "shop"), ok, "created by kubectl", "SecretNotFound: ", "none: no run has succeeded yet",
		"Create the Secret shop-db with the key url")

	outcome, logs := w.later("wait", "shop"), w.later("logs", "shop", "-f")
	w.secret()
	w.eventually(ok, list("the migration began", "Pod dbupgrade-shop-", "kubectl dbu logs shop -n "+w.ns+" -f"), "status", "shop")
	w.want(w.dbu("list"), ok, "shop  running")
	w.want(<-logs, ok, printed)
	w.want(w.dbu("retry", "shop"), refused, "the present run goes on")
	w.kubelet.Finish("hang-1", 1)
	w.want(<-outcome, failed, "shop: failed: ", `pq: relation "users" already exists`)

	w.want(w.dbu("wait", "shop"), failed)
	w.want(w.dbu("list"), ok, "shop  failed", "exit code 1")
	w.want(w.dbu("status", "shop"), ok, "shop in namespace "+w.ns+": failed", "the migration ended with exit code 1",
		"run 1 failed after ", "kubectl dbu logs shop -n "+w.ns, "kubectl dbu retry shop -n "+w.ns)
	w.want(w.dbu("logs", "dbu/shop"), ok, printed)

	outcome = w.later("retry", "shop", "--wait")
	w.kubelet.Finish("hang-1", 0)
	w.want(<-outcome, ok, "Retry of shop asked for: run 1 of shop/migrations:hang-1 is repeated.", "shop: done: shop/migrations:hang-1 is applied")

	w.want(w.dbu("wait", "shop", "--timeout=0"), ok)
	w.want(w.dbu("list"), ok, "shop  done", "shop/migrations:hang-1 is applied")
	w.want(w.dbu("status", "shop"), ok, "run 1 of shop/migrations:hang-1 failed after ", "run 2 succeeded after ")
	w.want(w.dbu("retry", "shop"), refused, "With --force: the migration that is applied already is run once more")

	outcome = w.later("retry", "shop", "--force", "--wait", "--quiet")
	w.kubelet.Finish("hang-1", 0)
	got := <-outcome
	w.want(got, ok)
	if got.err != "" {
		t.Errorf("--quiet said: %s", got.err)
	}
	w.want(w.dbu("status", "shop"), ok, "run 3 succeeded after ")
	if ran := w.kubelet.Ran(); len(ran) != 3 {
		t.Errorf("runs: %v", ran)
	}

	w.kubectl("delete", "jobs", "--all", "--wait=true", "--cascade=foreground")
	w.want(w.dbu("logs", "shop"), notFound, "is gone, and its log with it. The operator has recorded: Succeeded")
	w.want(w.dbu("status", "shop"), ok, "(it is gone)")
	w.want(w.dbu("wait", "shop"), ok)
}

func TestWhatIsBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.secret()
	w.apply(strings.Replace(object("shop", "ok-1"), `"spec": {`, `"spec": {"suspend": true, `, 1))
	w.want(w.dbu("wait", "shop"), blocked, "shop: blocked: spec.suspend is true")
	w.want(w.dbu("retry", "shop"), refused, "nothing runs while it is blocked")
	status := w.dbu("status", "shop")
	w.want(status, ok, "true: no new run starts", "Let it run:")
	advice := regexp.MustCompile(`(?m)^ +(kubectl patch dbu .*)$`).FindStringSubmatch(status.out)
	if advice == nil {
		t.Fatalf("no command in:\n%s", status.out)
	}
	w.want(w.run(w.command("sh", "-c", advice[1])), ok)
	w.want(w.dbu("wait", "shop"), ok)
}

func TestTheJobVanishes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.secret()
	w.apply(object("shop", "hang-1"))
	w.eventually(ok, list("the migration began"), "status", "shop")
	outcome := w.later("wait", "shop")
	w.kubectl("delete", "jobs", "--all")
	w.want(<-outcome, failed)
	w.want(w.dbu("status", "shop"), ok, "was lost", "Nobody saw how it ended", "dbu retry shop")
}

func TestANeverStartedMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.secret()
	w.apply(object("shop", "typo-1"))
	w.eventually(ok, list("shop  waiting", "ImagePullBackOff"), "list")
	w.want(w.dbu("logs", "shop"), notFound, "The migration of run 1 has not begun", "ImagePullBackOff", "-f waits")
	w.want(w.dbu("status", "shop"), ok, "a corrected spec replaces this run at once")
	outcome := w.later("wait", "shop")
	w.patchSpec("shop", `{"migrations":{"image":"shop/migrations:ok-2"}}`)
	w.want(<-outcome, ok)
	w.want(w.dbu("status", "shop"), ok, "run 1 of shop/migrations:typo-1 was replaced before it had started", "spec changed by kubectl")
}

// No reconciler: the test decides when the status follows the spec.
func TestAnOldReadyIsNoAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(object("shop", "ok-1"))
	w.writeStatus("shop", ready(1))
	w.want(w.dbu("wait", "shop", "--timeout=0"), ok)
	w.patchSpec("shop", `{"migrations":{"image":"shop/migrations:ok-2"}}`)
	w.want(w.dbu("wait", "shop", "--timeout=0"), timeout, "has not seen its present spec yet")
	outcome := w.later("wait", "shop")
	w.writeStatus("shop", ready(2))
	w.want(<-outcome, ok)

	w.kubectl("annotate", "dbu", "shop", "dbupgrade.subbug.learning/retry=1")
	w.want(w.dbu("wait", "shop", "--timeout=0"), timeout, "a retry has been asked for")
	outcome = w.later("wait", "shop", "-q")
	w.writeStatus("shop", map[string]any{"lastHandledRetry": "1"})
	w.want(<-outcome, ok)

	w.patchSpec("shop", `{"migrations":{"image":"shop/migrations:ok-3"}}`)
	outcome = w.later("wait", "shop")
	w.eventually(ok, list("waiting"), "list")
	w.kubectl("delete", "dbu", "shop")
	w.want(<-outcome, notFound)
}

func TestJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	if items := w.parse(w.dbu("list", "-o", "json"))["items"].([]any); len(items) != 0 {
		t.Errorf("items of an empty namespace: %v", items)
	}
	w.secret()
	w.apply(object("good", "ok-1"))
	w.apply(object("bad", "fail-1"))
	w.want(w.dbu("wait", "good"), ok)
	got := w.dbu("wait", "bad", "-ojson")
	w.want(got, failed)
	if d := w.parse(got); d["state"] != "failed" || d["reason"] != "MigrationFailed" || d["lastRun"].(map[string]any)["exitCode"] != 1.0 {
		t.Errorf("wait: %v", d)
	}
	items := w.parse(w.dbu("list", "--output=json"))["items"].([]any)
	if len(items) != 2 || items[0].(map[string]any)["name"] != "bad" || items[1].(map[string]any)["state"] != "done" {
		t.Errorf("list: %v", items)
	}
	status := w.parse(w.dbu("status", "bad", "-o", "json"))
	if status["jobExists"] != true || len(status["timeline"].([]any)) < 5 || len(status["next"].([]any)) != 3 || status["podName"] == nil {
		t.Errorf("status: %v", status)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, args := range [][]string{
		{"nonsense"}, {"status"}, {"status", "a", "b"}, {"list", "a"}, {"list", "--follow"}, {"wait", "a", "--timeout=soon"},
		{"status", "a", "-o", "yaml"}, {"status", "A_b"}, {"logs", "a", "--tail=-1"}, {"list", "--nonsense"}, {"wait", "a", "--timeout"},
		{"completion"}, {"completion", "csh"}, {"status", "--", "-a"}, {"list", "-n", "-x"},
	} {
		got := w.run(w.command("kubectl", append([]string{"dbu"}, args...)...))
		if got.code != usage || !strings.HasPrefix(got.err, "error: ") || got.out != "" {
			t.Errorf("%v: exit code %d\n%s%s", args, got.code, got.out, got.err)
		}
	}
	for _, args := range [][]string{{}, {"--help"}, {"help", "wait"}, {"list", "--help"}, {"status", "-h"}, {"logs", "--help"},
		{"retry", "--help"}, {"wait", "--help"}, {"completion", "--help"}, {"version"}} {
		got := w.run(w.command("kubectl", append([]string{"dbu"}, args...)...))
		if got.code != ok || got.err != "" || got.out == "" {
			t.Errorf("%v: exit code %d\n%s%s", args, got.code, got.out, got.err)
		}
	}
	for _, command := range []string{"status", "logs", "retry", "wait"} {
		w.want(w.dbu(command, "nobody"), notFound, "There is no DBUpgrade nobody in the namespace "+w.ns)
	}
}

func TestWhoMayAndWhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(object("shop", "ok-1"))
	w.writeStatus("shop", ready(1))
	w.want(w.dbu("list", "--as=nobody"), trouble, "Forbidden")
	w.want(w.dbu("status", "shop", "--as", "nobody"), trouble, "Forbidden")
	w.want(w.dbu("list", "--context=nonsense"), trouble, "nonsense")
	w.want(w.dbu("list", "--server=https://127.0.0.1:1"), trouble, "127.0.0.1:1")

	// Who may read DBUpgrades only sees less, and is told why.
	w.kubectl("create", "role", "reader", "--verb=get,list,watch", "--resource=dbupgrades.dbupgrade.subbug.learning")
	w.kubectl("create", "rolebinding", "reader", "--role=reader", "--user=reader")
	w.eventually(ok, list("done", "Forbidden", "events.k8s.io"), "status", "shop", "--as=reader")
	w.want(w.dbu("retry", "shop", "--force", "--as=reader"), trouble, "Forbidden")

	// Only the plugin, no kubectl.
	alone := w.command("kubectl-dbu", "list")
	alone.Path, alone.Args = harness.Binary(t, "DBUPGRADE_PLUGIN"), []string{"kubectl-dbu", "list"}
	alone.Env = append(alone.Env, "PATH="+t.TempDir())
	w.want(w.run(alone), trouble, "there is no kubectl in PATH")

	// A server that never answers does not hold up --timeout.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.want(w.dbu("wait", "shop", "--timeout=1s", "--server=https://"+silent.Addr().String()), timeout, "the cluster has not answered")

	// A namespace of its own is not all of them.
	all := w.run(w.command("kubectl", "dbu", "list"))
	w.want(all, ok, w.ns, "shop")
}

// between puts a kubectl before the real one, which does something the first time that its arguments
// contain a word, and then what the real one does, or not.
func (w *world) between(word, script string) {
	w.Helper()
	dir := w.TempDir()
	text := fmt.Sprintf(`#!/bin/sh
kube() { %s kubectl --kubeconfig=%s "$@"; }
case " $* " in *" %s "*) [ -e %s/done ] || { touch %s/done; %s; } ;; esac
exec %s kubectl "$@"
`, harness.Kube(), cluster.Kubeconfig, word, dir, dir, script, harness.Kube())
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(text), 0o700); err != nil {
		w.Fatal(err)
	}
	w.path = dir + ":" + w.path
}

func TestARetryMeetsAnotherWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(object("shop", "ok-1"))
	w.writeStatus("shop", ready(1))
	w.between("annotate", "kube label dbu shop -n "+w.ns+" a=b >/dev/null")
	w.want(w.dbu("retry", "shop", "--force"), ok, "Retry of shop asked for")
	if o := w.get("shop"); o.GetAnnotations()["dbupgrade.subbug.learning/retry"] == "" || o.GetLabels()["a"] != "b" {
		t.Errorf("annotations %v, labels %v", o.GetAnnotations(), o.GetLabels())
	}

	// Somebody else's success in between leaves nothing to retry.
	w.writeStatus("shop", map[string]any{"lastHandledRetry": w.get("shop").GetAnnotations()["dbupgrade.subbug.learning/retry"],
		"reason": "MigrationFailed", "lastRun": map[string]any{"number": 1, "result": "Failed", "jobName": "j", "jobUID": "u",
			"startedAt": "2026-11-24T12:00:00Z", "finishedAt": "2026-11-24T12:00:03Z"},
		"conditions": []any{
			map[string]any{"type": "Stalled", "status": "True", "reason": "MigrationFailed", "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-11-24T12:00:00Z"},
			map[string]any{"type": "Degraded", "status": "True", "reason": "MigrationFailed", "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-11-24T12:00:00Z"}}})
	w.want(w.dbu("wait", "shop", "--timeout=0"), failed)
	before := w.get("shop").GetAnnotations()["dbupgrade.subbug.learning/retry"]
	w.between("annotate", `kube patch dbu shop -n `+w.ns+` --subresource=status --type=merge -p '{"status": {"reason": "MigrationComplete",
		"conditions": [{"type": "Ready", "status": "True", "reason": "MigrationComplete", "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-11-24T12:00:00Z"}]}}' >/dev/null`)
	w.want(w.dbu("retry", "shop"), refused)
	if after := w.get("shop").GetAnnotations()["dbupgrade.subbug.learning/retry"]; after != before {
		t.Errorf("a retry was asked for all the same: %s", after)
	}
}

func TestAWatchBreaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(object("shop", "ok-1"))
	broken := filepath.Join(t.TempDir(), "broken")
	w.between("--watch", `echo '{"type": "ERROR", "object": {"kind": "Status", "code": 410}}'; touch `+broken+`; exit 1`)
	outcome := w.later("wait", "shop")
	harness.Eventually(w, harness.Patience, "the watch breaks", func() error {
		_, err := os.Stat(broken)
		return err
	})
	w.writeStatus("shop", ready(1))
	w.want(<-outcome, ok, "shop: done")
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestATerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(object("shop", "ok-1"))
	status := ready(1)
	status["conditions"].([]any)[0].(map[string]any)["status"] = "False"
	status["message"] = "\x1b]0;owned\x07 \x1b[2J \u009b31m \u202emirrored " + strings.Repeat("a long story ", 30)
	status["lastRun"] = map[string]any{"number": 1, "jobName": "--all", "jobUID": "a,b", "result": "Failed", "image": "x\x1b[1m",
		"startedAt": "2026-11-24T12:00:00Z", "finishedAt": "2026-11-24T12:00:03Z", "reason": "Error", "message": "\x1b[5m"}
	w.writeStatus("shop", status)

	for _, args := range [][]string{{"list"}, {"status", "shop"}, {"status", "shop", "-o", "json"}, {"wait", "shop", "--timeout=0"}, {"logs", "shop"}} {
		got := w.onTerminal("A=b", args...)
		plain := colour.ReplaceAllString(got.out, "")
		if strings.ContainsAny(plain, "\x1b\x07\u009b\u202e") {
			t.Errorf("%v lets bytes through to the terminal: %q", args, got.out)
		}
		if args[len(args)-1] == "json" {
			continue
		}
		for line := range strings.Lines(plain) {
			if (args[0] == "list" || args[0] == "status") && len([]rune(strings.TrimRight(line, "\r\n"))) > 80 {
				t.Errorf("%v: a line is longer than the terminal is wide: %q", args, line)
			}
		}
	}
	if got := w.onTerminal("A=b", "list"); !colour.MatchString(got.out) {
		t.Errorf("no colour on a terminal: %q", got.out)
	}
	for _, environment := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if got := w.onTerminal(environment, "list"); strings.Contains(got.out, "\x1b") {
			t.Errorf("colour in spite of %s: %q", environment, got.out)
		}
	}
	if got := w.dbu("status", "shop"); strings.Contains(got.out, "\x1b") {
		t.Errorf("colour in a pipe: %q", got.out)
	}
	got := w.dbu("list")
	if lines := strings.Count(got.out, "\n"); lines != 2 {
		t.Errorf("a pipe wants one line for each: %d lines\n%s", lines, got.out)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(object("shop", "ok-1"))
	for _, c := range []struct {
		words, want string
	}{
		{"", "list status logs retry wait completion version"},
		{"st", "status"},
		{"status -n NS ", "shop"},
		{"logs x -n NS ", ""},
		{"logs --ti", "--timestamps"},
		{"list -o ", "json"},
		{"list -o=", "json"},
		{"completion ", "bash zsh fish"},
		{"list --context ", "default"},
		{"list -n NS", "NS"},
	} {
		words := strings.Split(strings.ReplaceAll(c.words, "NS", w.ns), " ")
		got := w.run(w.command("kubectl", append([]string{"__complete", "dbu"}, words...)...))
		var offered []string
		for line := range strings.Lines(got.out) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
				offered = append(offered, word)
			}
		}
		want := strings.ReplaceAll(c.want, "NS", w.ns)
		if strings.Join(offered, " ") != want || !strings.HasSuffix(got.out, ":4\n") {
			t.Errorf("kubectl dbu %s<TAB>: want %q, got %q\n%s", c.words, want, offered, got.out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := filepath.Join(t.TempDir(), "completion")
		if err := os.WriteFile(script, []byte(w.dbuOut("completion", shell)), 0o600); err != nil {
			t.Fatal(err)
		}
		w.want(w.run(w.command(shell, "-n", script)), ok)
		if shell == "bash" {
			got := w.run(w.command("bash", "-c", "source "+script+`; COMP_WORDS=(kubectl-dbu list --output = j); COMP_CWORD=4; _kubectl_dbu; echo "${COMPREPLY[@]}"`))
			w.want(got, ok, "json")
			got = w.run(w.command("bash", "-c", "source "+script+`; COMP_WORDS=(kubectl-dbu status -n `+w.ns+` ""); COMP_CWORD=4; _kubectl_dbu; echo "${COMPREPLY[@]}"`))
			w.want(got, ok, "shop")
		}
		if shell == "fish" {
			got := w.run(w.command("fish", "-c", "source "+script+"; complete -C 'kubectl-dbu status -n "+w.ns+" '"))
			w.want(got, ok, "shop")
		}
	}
}

// dbuOut runs what asks no cluster.
func (w *world) dbuOut(args ...string) string {
	w.Helper()
	got := w.run(w.command("kubectl", append([]string{"dbu"}, args...)...))
	w.want(got, ok)
	return got.out
}
