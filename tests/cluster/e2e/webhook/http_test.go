// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/harness"
)

// aReview is a good object of about 1.8 KB, as kubectl apply makes it.
func aReview(t testing.TB) []byte {
	t.Helper()
	cases, err := harness.AdmissionCases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Webhook.Allowed && c.Operation == "UPDATE" {
			return review(t, &c)
		}
	}
	t.Fatal("no case is allowed")
	return nil
}

func TestRequestsThatAreNoReviews(t *testing.T) {
	w := harness.StartWebhook(t)
	const post, length, kind = "POST " + harness.ValidatePath + " HTTP/1.1\r\nHost: x\r\n", "Content-Length: ", "Content-Type: application/json\r\n"
	good := string(aReview(t))
	framed := func(body string) string {
		return fmt.Sprintf("%s%s%s%d\r\n\r\n%s", post, kind, length, len(body), body)
	}
	rows := []struct {
		name, request string
		status        int // 0: the connection is closed without an answer
	}{
		{"a good one", framed(good), 200},
		{"another path", "POST /elsewhere HTTP/1.1\r\nHost: x\r\n" + kind + "Content-Length: 2\r\n\r\n{}", 404},
		{"a path with more behind it", strings.Replace(framed(good), " HTTP", "/more HTTP", 1), 404},
		{"an encoded NUL behind the path", strings.Replace(framed(good), " HTTP", "%00 HTTP", 1), 404},
		{"GET", "GET " + harness.ValidatePath + " HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"PUT", strings.Replace(framed(good), "POST", "PUT", 1), 405},
		{"no content type", strings.Replace(framed(good), kind, "", 1), 415},
		{"another content type", strings.Replace(framed(good), "json", "yaml", 1), 415},
		{"a charset is fine", strings.Replace(framed(good), "json", "json; charset=utf-8", 1), 200},
		{"an empty body", framed(""), 400},
		{"an empty object", framed("{}"), 400},
		{"not JSON", framed("apiVersion: v1"), 400},
		{"truncated", framed(good[:len(good)-1]), 400},
		{"two values", framed(good + "{}"), 400},
		{"a duplicate key", framed(strings.Replace(good, "{", `{"kind":"x",`, 1)), 400},
		{"an unknown version of the review", framed(strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v2", 1)), 400},
		{"too deep", framed(strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), 400},
		{"NUL in the middle", framed(good[:20] + "\x00" + good[20:]), 400},
		{"invalid UTF-8", framed(strings.Replace(good, "shop", "sh\xffp", 1)), 400},
		{"more than 7 MiB announced", post + kind + length + "7340033\r\n\r\n", 413},
		{"more than fits into any number", post + kind + length + "99999999999999999999999\r\n\r\n", 413},
		{"a negative length", post + kind + length + "-1\r\n\r\n", 400},
		{"a length of letters", post + kind + length + "ten\r\n\r\n", 400},
		{"two lengths", post + kind + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
		{"length and chunks", post + kind + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"an unknown coding", post + kind + "Transfer-Encoding: gzip\r\n\r\n", 400},
		{"chunks", fmt.Sprintf("%s%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", post, kind, 100, good[:100], len(good)-100, good[100:]), 200},
		{"an absurd chunk", post + kind + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 413},
		{"a chunk size of letters", post + kind + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
		{"a header larger than 32 KiB", post + "X: " + strings.Repeat("x", 40000) + "\r\n\r\n", 431},
		{"no HTTP", "hello\r\n\r\n", 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c := w.Dial(t)
			if _, err := io.WriteString(c, r.request); err != nil {
				t.Fatal(err)
			}
			status, body := readAnswer(t, c)
			if status != r.status {
				// A refusal may come as a closed connection, never as consent.
				if r.status < 400 || status != 0 {
					t.Errorf("want HTTP %d, got %d: %s", r.status, status, body)
				}
			}
			if r.status != 200 && strings.Contains(body, `"allowed":true`) {
				t.Errorf("allowed: %s", body)
			}
		})
	}
	if !w.Running() || !w.Ready() {
		t.Error("it did not survive")
	}
}

// readAnswer reads one answer; status 0 when the connection ended without.
func readAnswer(t *testing.T, c net.Conn) (int, string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

func TestBodies(t *testing.T) {
	w := harness.StartWebhook(t)
	client := w.Client()
	for size, want := range map[int]int{2: 400, 3 << 20: 400, 7 << 20: 400, 7<<20 + 1: 413} {
		status, _, err := w.Post(t.Context(), client, harness.MutatePath, bytes.Repeat([]byte(" "), size))
		if err != nil || status != want {
			t.Errorf("%d bytes: want %d, got %d, %v", size, want, status, err)
		}
	}
	t.Run("100-continue", func(t *testing.T) {
		c := w.Dial(t)
		body := aReview(t)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", harness.ValidatePath, len(body))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
			t.Fatalf("%q, %v", line, err)
		}
	})
	t.Run("pipelined", func(t *testing.T) {
		c := w.Dial(t)
		body := aReview(t)
		for range 3 {
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", harness.ValidatePath, len(body), body)
		}
		reader := bufio.NewReader(c)
		for range 3 {
			response, err := http.ReadResponse(reader, nil)
			if err != nil || response.StatusCode != 200 {
				t.Fatalf("%v %v", response, err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
		}
	})
}

// serves sends good reviews until stop is closed, some on connections that stay and some on new
// ones, and returns how many were answered.
func serves(t *testing.T, w *harness.Webhook, stop <-chan struct{}) func() int {
	t.Helper()
	var answered, failed atomic.Int64
	body := aReview(t)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			client := w.Client()
			client.Transport.(*http.Transport).DisableKeepAlives = i == 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, text, err := w.Post(context.Background(), client, harness.ValidatePath, body)
				if err != nil || status != 200 || !bytes.Contains(text, []byte(`"allowed":true`)) {
					if failed.Add(1) < 5 {
						t.Errorf("a legitimate request: HTTP %d, %v", status, err)
					}
				}
				answered.Add(1)
			}
		})
	}
	return func() int {
		group.Wait()
		return int(answered.Load())
	}
}

// The manifests' memory limit.
const memoryLimitKiB = 128 << 10

func TestSlowAndHostileClients(t *testing.T) {
	rows := []struct {
		name   string
		attack func(t *testing.T, w *harness.Webhook)
	}{
		{"half a ClientHello, 1,000 times", func(t *testing.T, w *harness.Webhook) {
			for range 1000 {
				c := raw(t, w)
				_, _ = c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00})
			}
			time.Sleep(5 * time.Second)
		}},
		{"1,000 silent connections", func(t *testing.T, w *harness.Webhook) {
			for range 1000 {
				raw(t, w)
			}
			time.Sleep(5 * time.Second)
		}},
		{"a header that drips", func(t *testing.T, w *harness.Webhook) {
			drip(t, w, "POST "+harness.ValidatePath+" HTTP/1.1\r\nX: "+strings.Repeat("x", 1000))
		}},
		{"a body that drips", func(t *testing.T, w *harness.Webhook) {
			drip(t, w, "POST "+harness.ValidatePath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat(" ", 1000))
		}},
		{"10,000 connections in turn", func(t *testing.T, w *harness.Webhook) {
			for range 10000 {
				c, err := net.Dial("tcp", w.Addr)
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
		}},
		{"a flood of bodies of 6 MB", func(t *testing.T, w *harness.Webhook) {
			body := bytes.Repeat([]byte("["), 6<<20)
			var group sync.WaitGroup
			for range 16 {
				group.Go(func() {
					client := w.Client()
					for range 10 {
						_, _, _ = w.Post(context.Background(), client, harness.ValidatePath, body) // 400 or 503
					}
				})
			}
			group.Wait()
		}},
		{"a flood of denied reviews", func(t *testing.T, w *harness.Webhook) {
			body := []byte(strings.Replace(string(aReview(t)), `"image":"`, `"image":" `, -1))
			client := w.Client()
			for range 3000 {
				if status, _, err := w.Post(t.Context(), client, harness.ValidatePath, body); err != nil || status != 200 {
					t.Fatalf("HTTP %d, %v", status, err)
				}
			}
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			w := harness.StartWebhook(t)
			stop := make(chan struct{})
			answered := serves(t, w, stop)
			r.attack(t, w)
			close(stop)
			n := answered()
			memory := w.PeakMemory(t)
			t.Logf("%d legitimate requests beside it, %d KiB at most", n, memory)
			if n == 0 {
				t.Error("no legitimate request was answered")
			}
			if memory > memoryLimitKiB {
				t.Errorf("%d KiB of memory", memory)
			}
			before := w.CPU(t)
			time.Sleep(2 * time.Second)
			if spent := w.CPU(t) - before; spent > time.Second {
				t.Errorf("%v of processor time in 2 s without work", spent)
			}
		})
	}
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

const drippers = 600 // more than may be open at a time

// drip sends a text on many connections, a byte at a time, until they are cut off.
func drip(t *testing.T, w *harness.Webhook, text string) {
	t.Helper()
	var group sync.WaitGroup
	var cut atomic.Int64
	for range drippers {
		c := w.Dial(t)
		group.Go(func() {
			for i := range len(text) {
				if _, err := io.WriteString(c, text[i:i+1]); err != nil {
					cut.Add(1)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	group.Wait()
	if cut.Load() != drippers {
		t.Errorf("only %d of %d were cut off", cut.Load(), drippers)
	}
}

func TestCertificates(t *testing.T) {
	t.Run("changed files are served without a restart", func(t *testing.T) {
		w := harness.StartWebhook(t)
		old := w.CA
		w.CA = harness.NewCA(t)
		w.CA.Write(t, w.Dir, time.Hour)
		awaitServed(t, w)
		if status, _, err := w.Post(t.Context(), (&harness.Webhook{CA: old}).Client(), harness.ValidatePath, nil); err == nil {
			t.Errorf("the old one is still served: %d", status)
		}
	})
	t.Run("as the kubelet changes them, by a link", func(t *testing.T) {
		dir := t.TempDir()
		w := &harness.Webhook{CA: harness.NewCA(t), Dir: dir}
		generation := func(name string) {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			w.CA.Write(t, filepath.Join(dir, name), time.Hour)
			link(t, name, filepath.Join(dir, "..data"))
		}
		generation("..1")
		link(t, "..data/tls.crt", filepath.Join(dir, "tls.crt"))
		link(t, "..data/tls.key", filepath.Join(dir, "tls.key"))
		w.Start(t)
		w.AwaitReady(t, true)
		awaitServed(t, w)
		w.CA = harness.NewCA(t)
		generation("..2")
		awaitServed(t, w)
	})
	t.Run("a half-written pair keeps the old one", func(t *testing.T) {
		w := harness.StartWebhook(t)
		harness.WriteFile(t, filepath.Join(w.Dir, "tls.key"), []byte("-----BEGIN PRIVATE KEY-----\n"))
		time.Sleep(time.Second)
		awaitServed(t, w)
		if !w.Ready() {
			t.Error("not ready")
		}
		w.CA.Write(t, w.Dir, time.Hour)
		awaitServed(t, w)
	})
	t.Run("none yet: not ready until they come", func(t *testing.T) {
		w := &harness.Webhook{CA: harness.NewCA(t), Dir: t.TempDir()}
		w.Start(t)
		harness.Eventually(t, 10*time.Second, "it answers", func() error {
			_, err := http.Get(w.Health + "/healthz")
			return err
		})
		if w.Ready() {
			t.Error("ready without a certificate")
		}
		w.CA.Write(t, w.Dir, time.Hour)
		w.AwaitReady(t, true)
		awaitServed(t, w)
	})
	t.Run("an expired one is not ready", func(t *testing.T) {
		w := harness.StartWebhook(t)
		w.CA.Write(t, w.Dir, -time.Minute)
		w.AwaitReady(t, false)
	})
	t.Run("no key is in the log", func(t *testing.T) {
		w := harness.StartWebhook(t, "--log-level=debug")
		key, err := os.ReadFile(filepath.Join(w.Dir, "tls.key"))
		if err != nil {
			t.Fatal(err)
		}
		secret := strings.Split(string(key), "\n")[1][:40]
		w.Stop(t)
		if strings.Contains(w.Log(), secret) {
			t.Error(w.Log())
		}
	})
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// awaitServed waits until new connections get a certificate of the webhook's present CA.
func awaitServed(t *testing.T, w *harness.Webhook) {
	t.Helper()
	body := aReview(t)
	harness.Eventually(t, 30*time.Second, "the certificate is served", func() error {
		status, _, err := w.Post(t.Context(), w.Client(), harness.ValidatePath, body)
		if err == nil && status != 200 {
			err = fmt.Errorf("HTTP %d", status)
		}
		return err
	})
}

func TestShutdown(t *testing.T) {
	t.Run("what was accepted is answered", func(t *testing.T) {
		w := harness.StartWebhook(t, "--shutdown-delay=2s")
		stop := make(chan struct{})
		answered := serves(t, w, stop)
		time.Sleep(500 * time.Millisecond)
		w.Signal(t, syscall.SIGTERM)
		w.AwaitReady(t, false)
		time.Sleep(time.Second)
		// By now nobody sends it anything new, as with the endpoints of a Service.
		close(stop)
		if n := answered(); n == 0 {
			t.Error("nothing was answered")
		}
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

func TestMetrics(t *testing.T) {
	w := harness.StartWebhook(t)
	client := w.Client()
	for range 3 {
		ask(t, w, client, harness.ValidatePath, aReview(t))
	}
	got := requests(t, w)
	path := `webhook="` + harness.ValidatePath + `"`
	for series, want := range map[string]string{
		`controller_runtime_webhook_requests_total{` + path + `,code="200"}`: "3",
		`controller_runtime_webhook_latency_seconds_count{` + path + `}`:     "3",
		`controller_runtime_webhook_requests_in_flight{` + path + `}`:        "0",
		`dbupgrade_operator_up`: "1",
	} {
		if got[series] != want {
			t.Errorf("%s: want %s, got %q of %v", series, want, got[series], got)
		}
	}
}
