// SPDX-License-Identifier: Apache-2.0

//go:build bench

// Package load measures the webhook beside a bare HTTPS server of the same library, the yardstick:
// alternating, in one run, at full load and at half of it. It prints rows of script/bench's table;
// nothing here passes or fails by a time.
//
//	LOAD_REVIEWS    reviews of each measurement; default 20000
package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/figures"
	"dbupgrade/tests/cluster/e2e/harness"
)

const (
	rounds      = 5
	connections = 32
)

// body is a review of 1.8 KB, as kubectl apply of a small object makes it.
func body(t *testing.T) []byte {
	t.Helper()
	object := func(image string) map[string]any {
		return map[string]any{"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade",
			"metadata": map[string]any{"name": "shop", "namespace": "prod", "uid": "0d4cf2c9-4a5c-4c9a-8d4e-6a1c3f1e2b11",
				"resourceVersion": "4711", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z",
				"annotations": map[string]any{"note": strings.Repeat("x", 180)}},
			"spec": map[string]any{"migrations": map[string]any{"image": image, "dir": "/migrations"},
				"database": map[string]any{"type": "selfHosted", "connection": map[string]any{"urlSecretRef": map[string]any{"name": "db", "key": "url"}}},
				"runner":   map[string]any{"activeDeadlineSeconds": 600}}}
	}
	text, err := json.Marshal(map[string]any{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": map[string]any{
		"uid": "0d4cf2c9-4a5c-4c9a-8d4e-6a1c3f1e2b11", "name": "shop", "namespace": "prod", "operation": "UPDATE",
		"kind":     map[string]any{"group": "dbupgrade.subbug.learning", "version": "v1alpha1", "kind": "DBUpgrade"},
		"resource": map[string]any{"group": "dbupgrade.subbug.learning", "version": "v1alpha1", "resource": "dbupgrades"},
		"userInfo": map[string]any{"username": "system:serviceaccount:argocd:application-controller", "groups": []any{"system:serviceaccounts", "system:authenticated"}},
		"object":   object("shop/migrations:2"), "oldObject": object("shop/migrations:1"), "dryRun": false}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// measured is what a server took for some requests.
type measured struct {
	cpu       time.Duration // processor time of the server
	wall      time.Duration
	latencies []time.Duration // in order
	rss       int             // KiB, while all connections were open
}

func (m *measured) p99() time.Duration { return percentile(m.latencies, 99) }

func (m *measured) perThousand() float64 { return m.cpu.Seconds() / float64(len(m.latencies)) * 1000 }

func percentile(inOrder []time.Duration, percent float64) time.Duration {
	return inOrder[min(int(float64(len(inOrder))*percent/100), len(inOrder)-1)]
}

// measure sends so many requests on all connections: as fast as they are answered, or, with a rate,
// so many a second. Then each has its time, and what it waits for a late one before it counts as its
// latency.
func measure(t *testing.T, w *harness.Webhook, text []byte, reviews int64, rate float64) *measured {
	t.Helper()
	var group sync.WaitGroup
	var next atomic.Int64
	latencies := make([][]time.Duration, connections)
	clients := make([]*http.Client, connections)
	for i := range clients {
		clients[i] = w.Client()
		post(t, w, clients[i], text) // the handshake is not measured
	}
	m := &measured{cpu: -w.CPU(t)}
	start := time.Now()
	for i, client := range clients {
		group.Go(func() {
			for n := next.Add(1) - 1; n < reviews; n = next.Add(1) - 1 {
				begin := time.Now()
				if rate > 0 {
					begin = start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
					time.Sleep(time.Until(begin))
				}
				post(t, w, client, text)
				latencies[i] = append(latencies[i], time.Since(begin))
			}
		})
	}
	group.Wait()
	m.wall = time.Since(start)
	m.cpu += w.CPU(t)
	m.rss = harness.Memory(t, w.Pid(), "Rss")
	for _, client := range clients {
		client.CloseIdleConnections()
	}
	m.latencies = slices.Concat(latencies...)
	slices.Sort(m.latencies)
	return m
}

func post(t *testing.T, w *harness.Webhook, client *http.Client, text []byte) {
	status, _, err := w.Post(context.Background(), client, harness.ValidatePath, text)
	if err != nil || status != http.StatusOK {
		t.Errorf("HTTP %d, %v", status, err)
	}
}

// bare starts the yardstick with the webhook's certificate.
func bare(t *testing.T, w *harness.Webhook) *harness.Webhook {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	b := &harness.Webhook{CA: w.CA, Dir: w.Dir, Addr: address}
	b.Process = harness.StartProcess(t, harness.Binary(t, "DBUPGRADE_BARE_HTTPS"), port,
		filepath.Join(w.Dir, "tls.crt"), filepath.Join(w.Dir, "tls.key"))
	harness.Eventually(t, 10*time.Second, "the bare server listens", func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	})
	return b
}

func TestStart(t *testing.T) {
	var starts []time.Duration
	for range rounds {
		w := &harness.Webhook{CA: harness.NewCA(t), Dir: t.TempDir()}
		w.CA.Write(t, w.Dir, time.Hour)
		begin := time.Now()
		w.Start(t)
		for !w.Ready() {
			time.Sleep(200 * time.Microsecond)
		}
		starts = append(starts, time.Since(begin))
		w.Kill()
	}
	figures.Row("webhook: from exec until ready, a handshake with itself included", "30 ms",
		fmt.Sprintf("`./load` TestStart, median of %d", rounds), "%v", median(starts).Round(100*time.Microsecond))
}

// round is one measurement of both servers: as fast as they can, and at half of that.
type round struct{ webhook, bare, halfWebhook, halfBare *measured }

func TestWebhook(t *testing.T) {
	reviews := int64(figures.Size(t, "LOAD_REVIEWS", 20000))
	text := body(t)
	w := harness.StartWebhook(t)
	b := bare(t, w)
	idle, bareIdle := harness.Memory(t, w.Pid(), "Rss"), harness.Memory(t, b.Pid(), "Rss")
	var list []round
	var rates []float64
	for range rounds {
		r := round{bare: measure(t, b, text, reviews, 0), webhook: measure(t, w, text, reviews, 0)}
		// Half of what the webhook has just answered, for both: the same work at the same time.
		rate := float64(reviews) / r.webhook.wall.Seconds() / 2
		r.halfBare, r.halfWebhook = measure(t, b, text, reviews, rate), measure(t, w, text, reviews, rate)
		rates, list = append(rates, rate), append(list, r)
	}
	how := fmt.Sprintf("`./load` TestWebhook, %d connections, median of %d rounds of %d", connections, rounds, reviews)
	beside := func(format string, v any) string { return fmt.Sprintf("bare server: "+format, v) }
	figures.Row("webhook: RSS idle", "8 MB; "+beside("%.1f MB", megabytes(bareIdle)), "`./load` TestWebhook",
		"%.1f MB", megabytes(idle))
	figures.Row(fmt.Sprintf("webhook: RSS at %d connections", connections),
		"12 MB; "+beside("%.1f MB", megabytes(over(list, func(r round) int { return r.bare.rss }))), how,
		"%.1f MB", megabytes(over(list, func(r round) int { return r.webhook.rss })))
	figures.Row(fmt.Sprintf("webhook: processor time of 1,000 reviews of %.1f KB over kept TLS connections", float64(len(text))/1000),
		"30 ms; "+beside("%.1f ms", 1000*over(list, func(r round) float64 { return r.bare.perThousand() })), how,
		"%.1f ms", 1000*over(list, func(r round) float64 { return r.webhook.perThousand() }))
	figures.Row("webhook: ratio of the two", "1.25", how, "%.2f",
		over(list, func(r round) float64 { return float64(r.webhook.cpu) / float64(r.bare.cpu) }))
	figures.Row("webhook: p99 at full load", beside("%v", over(list, func(r round) time.Duration { return r.bare.p99() }).Round(10*time.Microsecond)),
		how, "%v", over(list, func(r round) time.Duration { return r.webhook.p99() }).Round(10*time.Microsecond))
	figures.Row(fmt.Sprintf("webhook: p99 at half load, %.0f reviews a second", median(rates)),
		"twice the bare server's: 2 × "+over(list, func(r round) time.Duration { return r.halfBare.p99() }).Round(10*time.Microsecond).String(),
		how, "%v", over(list, func(r round) time.Duration { return r.halfWebhook.p99() }).Round(10*time.Microsecond))
	plot(t, list)
}

func plot(t *testing.T, list []round) {
	var cpu, latency [][]float64
	for i, r := range list {
		cpu = append(cpu, []float64{float64(i + 1), r.webhook.perThousand(), r.bare.perThousand()})
	}
	figures.Data(t, "webhook-cpu", []string{"round", "webhook", "bare"}, cpu)
	for _, percent := range []float64{0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9} {
		latency = append(latency, []float64{percent,
			over(list, func(r round) float64 { return percentile(r.halfWebhook.latencies, percent).Seconds() }),
			over(list, func(r round) float64 { return percentile(r.halfBare.latencies, percent).Seconds() })})
	}
	figures.Data(t, "webhook-latency", []string{"percent", "webhook", "bare"}, latency)
}

// over is the median of a figure of the rounds.
func over[T int | float64 | time.Duration](list []round, figure func(round) T) T {
	var values []T
	for _, r := range list {
		values = append(values, figure(r))
	}
	return median(values)
}

func median[T int | float64 | time.Duration](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// megabytes are those of KiB.
func megabytes(kib int) float64 { return float64(kib) * 1024 / 1e6 }
