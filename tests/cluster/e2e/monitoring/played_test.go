// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dbupgrade/tests/cluster/e2e/harness"
)

var reviewed = regexp.MustCompile(`(?m)^dbupgrade_webhook_reviews_total{.*allowed="true"} [1-9]`)

// TestPlayed plays migrations that succeed, fail, run and wait, and looks at what Prometheus sees.
func TestPlayed(t *testing.T) {
	w := newWorld(t)
	w.callWebhook(w.webhook.Addr)
	dry := func() error {
		return w.try(upgrade("dry", "ok-0", "db"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	harness.Eventually(t, time.Minute, "the API server calls the webhook", func() error {
		err := dry()
		if text := scrape(t, "webhook", w.webhook.Meters).text; !strings.Contains(text, `dbupgrade_webhook_reviews_total{`) {
			t.Fatalf("no such series:\n%s", text)
		} else if !reviewed.MatchString(text) {
			return fmt.Errorf("not called: %v", err)
		}
		return err
	})
	w.secret("db")
	if err := w.try(upgrade("Wrong", "", ""), metav1.CreateOptions{}); err == nil {
		t.Fatal("created in spite of what is wrong with it")
	}
	for _, object := range []struct {
		name, tag, secret, reason string
		edit                      []func(map[string]any)
	}{
		{"done", "ok-1", "db", "MigrationComplete", nil},
		{"failed", "fail-1", "db", "MigrationFailed", nil},
		{"runs", "hang-1", "db", "JobRunning", nil},
		{"no-secret", "ok-2", "none", "SecretNotFound", nil},
		{"suspended", "ok-3", "db", "Suspended", []func(map[string]any){suspended}},
		{"guarded", "ok-4", "db", "ChecksNotImplemented", []func(map[string]any){guarded}},
	} {
		w.create(upgrade(object.name, object.tag, object.secret, object.edit...))
		w.await(object.name, object.reason)
	}
	w.callWebhook(harness.FreeAddress(t)) // nobody is there
	harness.Eventually(t, time.Minute, "one is refused without a webhook", func() error {
		if dry() == nil {
			return errors.New("it was not")
		}
		return nil
	})
	t.Run("a failed migration and one that cannot start raise their alerts", func(t *testing.T) { alerts(t, w) })
	outputs := []output{scrape(t, "webhook", w.webhook.Meters)}
	for _, r := range w.reconcilers {
		outputs = append(outputs, scrape(t, "reconciler", "http://"+r.address+"/metrics"))
	}
	t.Run("what is exported is as Prometheus wants it", func(t *testing.T) {
		for _, o := range outputs {
			if out, err := promtool(o.text, "check", "metrics"); err != nil || out != "" {
				t.Errorf("%s: %v\n%s", o.process, err, out)
			}
		}
	})
	t.Run("the documentation's table says what is exported", func(t *testing.T) { wantTheTableToBeTrue(t, outputs) })
	t.Run("alerts and dashboard ask for what is exported", func(t *testing.T) {
		exported := samples(append(outputs, apiServer(t)))
		for _, q := range queries(t) {
			wantKnown(t, q, exported)
		}
	})
	t.Run("every panel has an answer", func(t *testing.T) {
		for _, q := range queries(t) {
			// A scrape that is late leaves a gap.
			harness.Eventually(t, time.Minute, q.place, func() error {
				found, err := w.query(q.expr)
				if err == nil && len(found) == 0 && q.place[:5] == "panel" {
					err = fmt.Errorf("no series: %s", q.expr)
				}
				return err
			})
		}
	})
	t.Run("no alert has trouble with what it finds", func(t *testing.T) { health(t, w) })
}

// apiServer is what the API server exports.
func apiServer(t *testing.T) output {
	t.Helper()
	text, err := cluster.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, "API server", string(text))
}

// alerts waits for what the world gives reason for, and checks that nothing else is critical.
func alerts(t *testing.T, w *world) {
	var answer struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	harness.Eventually(t, harness.Patience, "alerts", func() error {
		if err := w.ask(&answer, "alerts", nil); err != nil {
			return err
		}
		var got []string
		for _, a := range answer.Alerts {
			got = append(got, a.State+" "+a.Labels["alertname"])
		}
		for _, want := range []string{"firing DBUpgradeMigrationFailed", "pending DBUpgradeMigrationStillFailed",
			"pending DBUpgradeMigrationBlocked"} {
			if !slices.Contains(got, want) {
				return fmt.Errorf("want %s, got %v", want, got)
			}
		}
		return nil
	})
	for _, a := range answer.Alerts {
		if a.Labels["severity"] == "critical" && a.Labels["alertname"] != "DBUpgradeMigrationFailed" && a.State == "firing" {
			t.Errorf("it cries wolf: %v", a.Labels)
		}
	}
}

// health checks that Prometheus could evaluate every rule.
func health(t *testing.T, w *world) {
	var answer struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := w.ask(&answer, "rules", url.Values{"type": {"alert"}}); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, group := range answer.Groups {
		for _, rule := range group.Rules {
			count++
			if rule.Health != "ok" {
				t.Errorf("%s: %s %s", rule.Name, rule.Health, rule.LastError)
			}
		}
	}
	if want := len(allRules(readRules(t))); count != want {
		t.Errorf("Prometheus knows %d rules, the manifest has %d", count, want)
	}
}
