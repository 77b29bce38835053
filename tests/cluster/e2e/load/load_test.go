// SPDX-License-Identifier: Apache-2.0

//go:build bench

// Package load measures the webhook beside a bare HTTPS server of the same library, the yardstick:
// alternating, in one run, at full load and at half of it. It prints rows of a Markdown table;
// nothing here passes or fails by a time.
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

	"dbupgrade/tests/cluster/e2e/harness"
)

const (
	rounds      = 5
	connections = 32
	perRound    = 20000
)

func put(what, figure string, args ...any) {
	fmt.Printf("| %s | %s |\n", what, fmt.Sprintf(figure, args...))
}

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

func (m *measured) p99() time.Duration { return m.latencies[len(m.latencies)*99/100] }

// measure sends perRound requests on all connections: as fast as they are answered, or, with a rate,
// so many a second. Then each has its time, and what it waits for a late one before it counts as its
// latency.
func measure(t *testing.T, w *harness.Webhook, text []byte, rate float64) *measured {
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
			for n := next.Add(1) - 1; n < perRound; n = next.Add(1) - 1 {
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

func median[T int | float64 | time.Duration](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

func TestWebhook(t *testing.T) {
	text := body(t)
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
	put("webhook: from exec until ready", "%v", median(starts).Round(100*time.Microsecond))
	w := harness.StartWebhook(t)
	put("webhook: RSS idle", "%.1f MB", float64(harness.Memory(t, w.Pid(), "Rss"))/1000)
	b := bare(t, w)
	var ratios, cpus, bareCPUs []float64
	var rates []float64
	var full, bareFull, half, bareHalf []time.Duration
	var rss []int
	for range rounds {
		bare, webhook := measure(t, b, text, 0), measure(t, w, text, 0)
		ratios = append(ratios, float64(webhook.cpu)/float64(bare.cpu))
		cpus = append(cpus, webhook.cpu.Seconds()/perRound*1000)
		bareCPUs = append(bareCPUs, bare.cpu.Seconds()/perRound*1000)
		full, bareFull = append(full, webhook.p99()), append(bareFull, bare.p99())
		rss = append(rss, webhook.rss)
		// Half of what the webhook has just answered, for both: the same work at the same time.
		rate := perRound / webhook.wall.Seconds() / 2
		rates = append(rates, rate)
		bareHalf, half = append(bareHalf, measure(t, b, text, rate).p99()), append(half, measure(t, w, text, rate).p99())
	}
	put(fmt.Sprintf("webhook: RSS at %d connections", connections), "%.1f MB", float64(median(rss))/1000)
	put(fmt.Sprintf("webhook: processor seconds for 1,000 reviews of %.1f KB", float64(len(text))/1000), "%.4f (%.0f a processor second)",
		median(cpus), 1000/median(cpus))
	put("bare server: the same", "%.4f", median(bareCPUs))
	put("ratio of the two, median of 5", "%.2f", median(ratios))
	put("p99 at full load: webhook, bare server", "%v, %v", rounded(full), rounded(bareFull))
	put(fmt.Sprintf("p99 at half load, %.0f a second: webhook, bare server", median(rates)), "%v, %v", rounded(half), rounded(bareHalf))
}

func rounded(list []time.Duration) time.Duration { return median(list).Round(10 * time.Microsecond) }
