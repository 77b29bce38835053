// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/harness"
)

// answers counts the legitimate requests of a test, and how long they took.
type answers struct {
	mu    sync.Mutex
	times []time.Duration
	wait  sync.WaitGroup
}

// person sends good reviews one after the other, with a pause between them, until the context ends;
// each that is not allowed fails the test. A client without keep-alive connects for each.
func (a *answers) person(ctx context.Context, t *testing.T, w *harness.Webhook, keepAlive bool, pause time.Duration) {
	body := aReview(t)
	a.wait.Go(func() {
		client := w.Client()
		defer client.CloseIdleConnections()
		client.Transport.(*http.Transport).DisableKeepAlives = !keepAlive
		for ctx.Err() == nil {
			begun := time.Now()
			status, text, err := w.Post(context.Background(), client, harness.ValidatePath, body)
			if err != nil || status != 200 || !bytes.Contains(text, []byte(`"allowed":true`)) {
				t.Errorf("a legitimate request: HTTP %d, %v, after %v", status, err, time.Since(begun))
			}
			a.mu.Lock()
			a.times = append(a.times, time.Since(begun))
			a.mu.Unlock()
			time.Sleep(pause)
		}
	})
}

// people are four who send without a pause, one of them on ever new connections.
func people(ctx context.Context, t *testing.T, w *harness.Webhook) *answers {
	a := &answers{}
	for i := range 4 {
		a.person(ctx, t, w, i > 0, 0)
	}
	return a
}

// done waits for all of them, tells their latencies and returns how many there were. One that took as
// long as the API server waits is as lost as one without an answer.
func (a *answers) done(t *testing.T) int {
	t.Helper()
	a.wait.Wait()
	slices.Sort(a.times)
	n := len(a.times)
	if n == 0 {
		t.Fatal("nothing was answered")
	}
	t.Logf("%d legitimate requests, each allowed unless said; p50 %v, p99 %v, max %v", n,
		a.times[n/2].Round(10*time.Microsecond), a.times[n*99/100].Round(10*time.Microsecond), a.times[n-1].Round(10*time.Microsecond))
	if limit := timeout(t); a.times[n-1] >= limit {
		t.Errorf("a legitimate request took %v: the API server gives up after %v", a.times[n-1], limit)
	}
	return n
}

func TestShutdown(t *testing.T) {
	t.Run("what was accepted is answered", func(t *testing.T) {
		w := harness.StartWebhook(t, "--shutdown-delay=6s")
		ctx, stop := context.WithCancel(t.Context())
		asked := people(ctx, t, w)
		time.Sleep(500 * time.Millisecond)
		w.Signal(t, syscall.SIGTERM)
		w.AwaitReady(t, false)
		time.Sleep(300 * time.Millisecond)
		// By now nobody sends it anything new, as with the endpoints of a Service.
		stop()
		asked.done(t)
		if code := w.Wait(t, 20*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("the second signal ends it at once", func(t *testing.T) {
		w := harness.StartWebhook(t, "--shutdown-delay=10m")
		w.Signal(t, syscall.SIGTERM)
		w.AwaitReady(t, false)
		w.Signal(t, syscall.SIGTERM)
		if code := w.Wait(t, 20*time.Second); code != 1 {
			t.Errorf("exit code %d", code)
		}
	})
}

// startAsShipped starts one with the flags of the manifests, but for what is this machine's.
func startAsShipped(t *testing.T) *harness.Webhook {
	t.Helper()
	w := &harness.Webhook{CA: harness.NewCA(t), Dir: t.TempDir()}
	w.CA.Write(t, w.Dir, time.Hour)
	port, health, meters := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
	w.Addr = fmt.Sprintf("127.0.0.1:%d", port)
	w.Health = fmt.Sprintf("http://127.0.0.1:%d", health)
	w.Process = harness.StartProcess(t, harness.Binary(t, "DBUPGRADE_WEBHOOK"), append(slices.Clone(pod(t).Containers[0].Args),
		fmt.Sprintf("--webhook-port=%d", port), "--webhook-cert-path="+w.Dir,
		fmt.Sprintf("--health-probe-bind-address=127.0.0.1:%d", health),
		fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", meters), "--log-format=json")...)
	w.AwaitReady(t, true)
	return w
}

// The kubelet kills after the Pod's grace: the delay and what is waited for afterwards have to fit
// into it, also beside clients that never finish a request.
func TestShutdownAsShipped(t *testing.T) {
	grace := time.Duration(*pod(t).TerminationGracePeriodSeconds) * time.Second
	w := startAsShipped(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	dripping(50, true, post+"Content-Length: 100000\r\n\r\n"+strings.Repeat(" ", 5000))(ctx, t, w)
	asked := people(ctx, t, w)
	hang := func() { _, _ = io.WriteString(w.Dial(t), post+"Content-Length: 7340032\r\n\r\n{") }
	hang()
	time.Sleep(time.Second)
	begun := time.Now()
	w.Signal(t, syscall.SIGTERM)
	w.AwaitReady(t, false)
	time.Sleep(4 * time.Second) // within the delay: nobody may notice
	hang()
	stop()
	asked.done(t)
	if code := w.Wait(t, grace-time.Since(begun)); code != 0 {
		t.Errorf("exit code %d", code)
	}
	ended := time.Since(begun)
	t.Logf("ended after %v of %v", ended.Round(time.Millisecond), grace)
	if ended < 15*time.Second {
		t.Error("nothing hung")
	}
}

// balancer passes connections on to the webhooks that were ready when it last looked, as a Service
// does. It tries none a second time.
type balancer struct {
	listener net.Listener
	mu       sync.Mutex
	backends []*harness.Webhook
	ready    []*harness.Webhook
	next     int
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: listener}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() {
		stop()
		listener.Close()
	})
	go b.look(ctx)
	go b.accept(t)
	return b
}

// set replaces the backends.
func (b *balancer) set(backends ...*harness.Webhook) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends = backends
}

func (b *balancer) look(ctx context.Context) {
	for ctx.Err() == nil {
		b.mu.Lock()
		backends := slices.Clone(b.backends)
		b.mu.Unlock()
		ready := slices.DeleteFunc(backends, func(w *harness.Webhook) bool { return !w.Ready() })
		b.mu.Lock()
		b.ready = ready
		b.mu.Unlock()
		time.Sleep(50 * time.Millisecond)
	}
}

func (b *balancer) accept(t *testing.T) {
	for {
		c, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		go b.pass(t, c)
	}
}

func (b *balancer) pass(t *testing.T, client net.Conn) {
	defer client.Close()
	b.mu.Lock()
	ready := slices.Clone(b.ready)
	b.next++
	next := b.next
	b.mu.Unlock()
	if len(ready) == 0 {
		t.Error("no webhook is ready")
		return
	}
	server, err := net.Dial("tcp", ready[next%len(ready)].Addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer server.Close()
	sent := make(chan struct{})
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
		close(sent)
	}()
	_, _ = io.Copy(client, server)
	_ = client.(*net.TCPConn).CloseWrite()
	<-sent
}

// Both of two webhooks are replaced, and replaced again, one after the other, while people send
// reviews: in haste, at leisure, on connections that stay and on new ones. None may be lost.
func TestRollingUpdate(t *testing.T) {
	ca := harness.NewCA(t)
	dir := t.TempDir()
	ca.Write(t, dir, time.Hour)
	start := func() *harness.Webhook {
		w := &harness.Webhook{CA: ca, Dir: dir}
		w.Start(t, "--shutdown-delay=6s")
		w.AwaitReady(t, true)
		return w
	}
	b := newBalancer(t)
	running := []*harness.Webhook{start(), start()}
	b.set(running...)
	harness.Eventually(t, 10*time.Second, "both are ready", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.ready) != 2 {
			return errors.New("not yet")
		}
		return nil
	})

	ctx, stop := context.WithCancel(t.Context())
	front := &harness.Webhook{CA: ca, Addr: b.listener.Addr().String()}
	asked := people(ctx, t, front)
	asked.person(ctx, t, front, true, 700*time.Millisecond)
	asked.person(ctx, t, front, false, 100*time.Millisecond)
	for range 2 {
		old := running[0]
		running = append(running[1:], start())
		b.set(append(running, old)...)
		old.Signal(t, syscall.SIGTERM)
		if code := old.Wait(t, 60*time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
		b.set(running...)
	}
	stop()
	asked.done(t)
}
