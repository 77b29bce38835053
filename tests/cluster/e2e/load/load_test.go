// SPDX-License-Identifier: Apache-2.0

//go:build bench

// Package load measures the webhook beside a bare HTTPS server of the same library, the yardstick:
// alternating, in one run. It prints rows of a Markdown table; nothing here passes or fails by a
// time.
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

// measure sends n requests on some connections and returns the server's processor time, and the
// latencies.
func measure(t *testing.T, w *harness.Webhook, text []byte, n int) (time.Duration, []time.Duration) {
	t.Helper()
	var group sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	latencies := make([][]time.Duration, connections)
	before := w.CPU(t)
	for i := range connections {
		group.Go(func() {
			client := w.Client()
			for left.Add(-1) >= 0 {
				begin := time.Now()
				status, _, err := w.Post(context.Background(), client, harness.ValidatePath, text)
				if err != nil || status != http.StatusOK {
					t.Errorf("HTTP %d, %v", status, err)
					return
				}
				latencies[i] = append(latencies[i], time.Since(begin))
			}
		})
	}
	group.Wait()
	all := slices.Concat(latencies...)
	slices.Sort(all)
	return w.CPU(t) - before, all
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
	var ratios, webhook, yardstick []float64
	var p99s, bareP99s []time.Duration
	for range rounds {
		bareCPU, bareLatencies := measure(t, b, text, perRound)
		cpu, latencies := measure(t, w, text, perRound)
		ratios = append(ratios, float64(cpu)/float64(bareCPU))
		webhook = append(webhook, cpu.Seconds()/perRound*1000)
		yardstick = append(yardstick, bareCPU.Seconds()/perRound*1000)
		p99s = append(p99s, latencies[len(latencies)*99/100])
		bareP99s = append(bareP99s, bareLatencies[len(bareLatencies)*99/100])
	}
	put("webhook: RSS after 32 connections", "%.1f MB", float64(harness.Memory(t, w.Pid(), "Rss"))/1000)
	put(fmt.Sprintf("webhook: processor seconds for 1,000 reviews of %.1f KB", float64(len(text))/1000), "%.4f (%.0f a processor second)",
		median(webhook), 1000/median(webhook))
	put("bare server: the same", "%.4f", median(yardstick))
	put("ratio of the two, median of 5", "%.2f", median(ratios))
	put("p99 at full load: webhook, bare server", "%v, %v", median(p99s).Round(10*time.Microsecond), median(bareP99s).Round(10*time.Microsecond))
}
