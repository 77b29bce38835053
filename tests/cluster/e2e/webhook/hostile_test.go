// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

// pod is what the manifests give the webhook.
func pod(t *testing.T) corev1.PodSpec {
	t.Helper()
	text, err := os.ReadFile(harness.Root("manifests", "base", "webhook.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range strings.Split(string(text), "\n---\n") {
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal([]byte(document), &deployment); err != nil || deployment.Kind != "Deployment" {
			continue
		}
		return deployment.Spec.Template.Spec
	}
	t.Fatal("there is no Deployment")
	return corev1.PodSpec{}
}

// An attack is begun once and goes on until the context ends.
type attack struct {
	name string
	// begin returns when the attack is under way; what it has open is closed by the test's end.
	begin func(ctx context.Context, t *testing.T, w *harness.Webhook)
	// idle: it keeps connections and sends next to nothing, so that no processor should be needed.
	idle bool
	// sign is a series of the metrics that must tell of it.
	sign string
}

const slowSign, crowdSign = "dbupgrade_webhook_slow_connections_total", "dbupgrade_webhook_crowded_connections_total"

const post = "POST " + harness.ValidatePath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

var attacks = []attack{
	{"half a ClientHello, 1,000 times", func(_ context.Context, t *testing.T, w *harness.Webhook) {
		for range 1000 {
			_, _ = raw(t, w).Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00})
		}
	}, true, crowdSign},
	{"1,000 silent connections", func(_ context.Context, t *testing.T, w *harness.Webhook) {
		for range 1000 {
			raw(t, w)
		}
	}, true, crowdSign},
	{"300 silent connections with a handshake", func(_ context.Context, t *testing.T, w *harness.Webhook) {
		for range 300 {
			w.Dial(t)
		}
	}, true, slowSign},
	{"a ClientHello that drips", dripping(300, false, strings.Repeat("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 100)), false, ""},
	{"a header that drips", dripping(300, true, "POST "+harness.ValidatePath+" HTTP/1.1\r\nX: "+strings.Repeat("x", 5000)), false, slowSign},
	{"a body that drips", dripping(300, true, post+"Content-Length: 100000\r\n\r\n"+strings.Repeat(" ", 5000)), false, slowSign},
	{"chunks that drip", dripping(300, true, post+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1\r\n \r\n", 1000)), false, slowSign},
	{"300 bodies of 7 MiB that are announced and never sent", func(_ context.Context, t *testing.T, w *harness.Webhook) {
		for range 300 {
			_, _ = io.WriteString(w.Dial(t), post+"Content-Length: 7340032\r\n\r\n{")
		}
	}, true, slowSign},
	{"10 bodies of 7 MiB without their last byte", func(_ context.Context, t *testing.T, w *harness.Webhook) {
		for range 10 {
			c := w.Dial(t)
			_, _ = fmt.Fprintf(c, "%sContent-Length: 7340032\r\n\r\n%s", post, strings.Repeat(" ", 7<<20-1))
		}
	}, true, `dbupgrade_webhook_refused_requests_total{reason="memory"}`},
	{"10,000 connections in turn", flood(brief(false, "")), false, ""},
	{"handshakes in turn", flood(brief(true, "")), false, ""},
	{"no TLS at all", flood(brief(false, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")), false, "dbupgrade_webhook_handshake_failures_total"},
	{"absurd chunks", flood(brief(true, post+"Transfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n")), false, ""},
	{"7 MiB of brackets", bodies(func(*testing.T) []byte { return bytes.Repeat([]byte("["), 7<<20) }), false, ""},
	{"7 MiB of members", bodies(func(*testing.T) []byte {
		var b bytes.Buffer
		b.WriteString(`{"a":0`)
		for i := 0; b.Len() < 7<<20-20; i++ {
			fmt.Fprintf(&b, `,"%x":0`, i)
		}
		b.WriteString("}")
		return b.Bytes()
	}), false, ""},
	{"a spec of 7 MiB of digits", bodies(func(t *testing.T) []byte {
		return crafted(t, `{"runner":{"affinity":[`, "0,", `0]}}`, 7<<20)
	}), false, `dbupgrade_webhook_denial_causes_total{webhook="` + harness.ValidatePath + `",reason="FieldValueTooMany"}`},
	{"as many values as are judged, all wrong", bodies(func(t *testing.T) []byte {
		return crafted(t, `{"runner":{"command":[`, "{},", `{}]}}`, 90<<10)
	}), false, `dbupgrade_webhook_denial_causes_total{webhook="` + harness.ValidatePath + `",reason="FieldValueTooMany"}`},
	{"7 MiB of mistakes that are long to say", bodies(func(t *testing.T) []byte {
		long := `{"name":"` + strings.Repeat(`\u0001`, 4000) + `"},`
		return crafted(t, `{"runner":{"env":[`, long, `{}],"volumes":[`+strings.Repeat(long, 20)+`{}]}}`, 6<<20)
	}), false, ""},
	{"denied reviews", bodies(func(t *testing.T) []byte { return deniedReview(t) }), false,
		`dbupgrade_webhook_reviews_total{webhook="` + harness.ValidatePath + `",allowed="false"}`},
}

// crafted is a review of a new object whose spec has so many times an item that it takes a size.
func crafted(t *testing.T, before, item, after string, size int) []byte {
	t.Helper()
	good := string(aReview(t))
	head, rest, ok := strings.Cut(strings.Replace(good, `"operation":"UPDATE"`, `"operation":"CREATE"`, 1), `"spec":{`)
	if !ok {
		t.Fatal("there is no spec")
	}
	// The old object stays as it is; what was in the new spec goes behind it, under another name.
	spec := before + strings.Repeat(item, (size-len(good)-len(before)-len(after)-100)/len(item)) + after
	return []byte(head + `"spec":` + spec + `,"was":{` + rest)
}

func raw(t *testing.T, w *harness.Webhook) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dripping sends a text on so many connections, a byte at a time, until they are cut off, and then
// on new ones. They are fewer than make a crowd: what ends them is their time.
func dripping(connections int, handshake bool, text string) func(context.Context, *testing.T, *harness.Webhook) {
	return func(ctx context.Context, t *testing.T, w *harness.Webhook) {
		var group sync.WaitGroup
		t.Cleanup(group.Wait)
		for range connections {
			group.Go(func() {
				for ctx.Err() == nil {
					dripOnce(ctx, w, handshake, text)
					time.Sleep(time.Second)
				}
			})
		}
	}
}

func dripOnce(ctx context.Context, w *harness.Webhook, handshake bool, text string) {
	dial := &net.Dialer{Timeout: 10 * time.Second}
	c, err := dial.DialContext(ctx, "tcp", w.Addr)
	if err == nil && handshake {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil || ctx.Err() != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// brief makes a connection, with or without a handshake, sends a text, awaits the end when there is
// one, and ends it without leaving the port behind, of which the machine has not that many.
func brief(handshake bool, text string) func(*harness.Webhook) error {
	return func(w *harness.Webhook) error {
		c, err := net.Dial("tcp", w.Addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if handshake {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			if err := c.(*tls.Conn).Handshake(); err != nil {
				return err
			}
		}
		if text != "" {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, c)
		}
		return nil
	}
}

// flood has eight do something as often as they can, at most 10,000 times in all.
func flood(do func(*harness.Webhook) error) func(context.Context, *testing.T, *harness.Webhook) {
	return func(ctx context.Context, t *testing.T, w *harness.Webhook) {
		var group sync.WaitGroup
		var begun, done atomic.Int64
		t.Cleanup(func() {
			group.Wait()
			t.Logf("%d times, %d to the end", begun.Load(), done.Load())
		})
		for range 8 {
			group.Go(func() {
				for ctx.Err() == nil && begun.Add(1) <= 10000 {
					if do(w) == nil {
						done.Add(1)
					}
				}
			})
		}
	}
}

// bodies sends a body as often as possible. It must never be allowed.
func bodies(body func(*testing.T) []byte) func(context.Context, *testing.T, *harness.Webhook) {
	return func(ctx context.Context, t *testing.T, w *harness.Webhook) {
		text := body(t)
		client := w.Client()
		client.Transport.(*http.Transport).MaxConnsPerHost = 8
		flood(func(w *harness.Webhook) error {
			status, answer, err := w.Post(ctx, client, harness.ValidatePath, text)
			if err == nil && bytes.Contains(answer, []byte(`"allowed":true`)) {
				t.Errorf("HTTP %d, allowed", status)
			}
			return err
		})(ctx, t, w)
	}
}

// Beside each attack, legitimate requests are answered: not one fails, and not one takes as long as
// the API server waits.
func TestSlowAndHostileClients(t *testing.T) {
	limit := int(pod(t).Containers[0].Resources.Limits.Memory().Value() / 1024)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			w := harness.StartWebhook(t)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			a.begin(ctx, t, w)
			if a.idle {
				wantIdle(t, w)
			}
			asking, enough := context.WithCancel(ctx)
			asked := people(asking, t, w)
			time.Sleep(3 * time.Second)
			enough()
			asked.done(t)
			w.AwaitReady(t, true)
			if a.sign != "" {
				harness.Eventually(t, time.Minute, a.sign, func() error {
					if value := requests(t, w)[a.sign]; value == "" || value == "0" {
						return fmt.Errorf("%q", value)
					}
					return nil
				})
			}
			stop()
			memory := w.PeakMemory(t)
			t.Logf("%d KiB at most", memory)
			if memory > limit {
				t.Errorf("%d KiB of memory, the manifests allow %d", memory, limit)
			}
			wantIdle(t, w)
		})
	}
}

// wantIdle fails when the webhook needs the processor while nobody asks it anything. What an attack
// has left to be done is waited for.
func wantIdle(t *testing.T, w *harness.Webhook) {
	t.Helper()
	harness.Eventually(t, time.Minute, "no processor is needed", func() error {
		begun, before := time.Now(), w.CPU(t)
		time.Sleep(time.Second)
		if wall, spent := time.Since(begun), w.CPU(t)-before; spent > wall/4 {
			return fmt.Errorf("%v of processor time in %v", spent, wall)
		}
		return nil
	})
}

// probing is a client that asks as the kubelet does: each time on a connection of its own.
func probing() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
}

// The kubelet and Prometheus get their answers beside clients of the same ports that never finish.
func TestProbesBesideDrippingClients(t *testing.T) {
	w := harness.StartWebhook(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	for _, port := range []string{w.Health, w.Meters} {
		host, err := url.Parse(port)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			group.Go(func() {
				for ctx.Err() == nil {
					dripOnce(ctx, &harness.Webhook{Addr: host.Host}, false, "GET /healthz HTTP/1.1\r\nX: "+strings.Repeat("x", 1000))
					time.Sleep(time.Second)
				}
			})
		}
	}
	client := probing()
	var longest time.Duration
	for range 100 {
		for _, target := range []string{w.Health + "/healthz", w.Health + "/readyz", w.Meters} {
			begun := time.Now()
			response, err := client.Get(target)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("%s: HTTP %d", target, response.StatusCode)
			}
			longest = max(longest, time.Since(begun))
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("the longest of 300 took %v", longest)
}

// A crowd that comes in one instant pushes out no probe that has come in the same.
func TestProbesInACrowd(t *testing.T) {
	w := harness.StartWebhook(t)
	host, err := url.Parse(w.Health)
	if err != nil {
		t.Fatal(err)
	}
	client := probing()
	for range 30 {
		var group sync.WaitGroup
		start := make(chan struct{})
		for range 110 { // more than a crowd, and with the probes fewer than all that there is room for
			group.Go(func() {
				<-start
				c, err := net.Dial("tcp", host.Host)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, "G")
				time.Sleep(150 * time.Millisecond)
				c.Close()
			})
		}
		for range 4 {
			group.Go(func() {
				<-start
				response, err := client.Get(w.Health + "/healthz")
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
			})
		}
		close(start)
		group.Wait()
	}
}
