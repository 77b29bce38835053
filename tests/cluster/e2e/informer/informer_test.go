// SPDX-License-Identifier: Apache-2.0

// Package informer judges how the reconciler keeps its picture of a real API server, with a proxy
// between them that does what API servers, load balancers and networks do on bad days.
package informer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"dbupgrade/tests/cluster/e2e/harness"
)

var cluster *harness.Cluster

func TestMain(m *testing.M) {
	os.Exit(harness.RunAudited(m, &cluster, (*harness.Cluster).InstallRights))
}

// world is a namespace with a reconciler for it. There are no Secrets: an object that it has seen
// says SecretNotFound.
type world struct {
	*testing.T
	objects dynamic.ResourceInterface
	ns      string
	proxy   *harness.Proxy
	process *harness.Process
	metrics int // port
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ns := cluster.Namespace(t)
	return &world{T: t, ns: ns, objects: cluster.Dynamic.Resource(harness.DBUpgrades).Namespace(ns), proxy: cluster.NewProxy(t)}
}

func (w *world) start() {
	w.Helper()
	w.startAs(cluster.ReconcilerKubeconfig(w, w.proxy.URL, w.proxy.CA))
}

func (w *world) startAs(kubeconfig string) {
	w.Helper()
	w.metrics = harness.FreePort(w)
	w.process = harness.StartReconciler(w, kubeconfig, "--namespace="+w.ns,
		fmt.Sprintf("--metrics-bind-address=127.0.0.1:%d", w.metrics))
}

func (w *world) create(name string) {
	w.Helper()
	_, err := w.objects.Create(w.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1", "kind": "DBUpgrade", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"suspend": true, "migrations": map[string]any{"image": "shop/migrations:1"},
			"database": map[string]any{"type": "selfHosted", "connection": map[string]any{"urlSecretRef": map[string]any{"name": "db", "key": "url"}}}},
	}}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.Helper()
	if err := w.objects.Delete(w.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

// noticed waits until the reconciler has written the status of an object.
func (w *world) noticed(name string, limit time.Duration) {
	w.Helper()
	harness.Eventually(w, limit, name+" is noticed", func() error {
		object, err := w.objects.Get(w.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if harness.Text(object, "status", "reason") == "" {
			return errors.New("no status yet")
		}
		return nil
	})
}

// knows waits until the reconciler knows that many DBUpgrades.
func (w *world) knows(count int, limit time.Duration) {
	w.Helper()
	harness.Eventually(w, limit, fmt.Sprint(count, " objects are known"), func() error {
		sum, err := harness.Metric(w.metrics, "dbupgrade_objects")
		if err != nil {
			return err
		}
		if int(sum) != count {
			return fmt.Errorf("it knows %v", sum)
		}
		return nil
	})
}

// isWatch says whether it is a list or watch of DBUpgrades, and isList whether it brings all of them.
func isWatch(e *harness.Exchange) bool { return strings.Contains(e.URL, "/dbupgrades?") }
func isList(e *harness.Exchange) bool {
	return isWatch(e) && (strings.Contains(e.URL, "sendInitialEvents") || strings.Contains(e.URL, "limit="))
}

// count is how many requests were of that kind.
func (w *world) count(kind func(*harness.Exchange) bool) (n int) {
	for _, e := range w.proxy.Exchanges() {
		if kind(&e) {
			n++
		}
	}
	return n
}

func status(code int, reason, more string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":"by the proxy"%s}`, code, reason, more)
}

func refuse(w http.ResponseWriter, code int, reason, more string) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprint(w, status(code, reason, more))
	return true
}

// stream is an answer's body that ends with other bytes when it is told to.
type stream struct {
	io.ReadCloser
	mu  sync.Mutex
	end []byte // what is still to come instead of the rest
	cut bool
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		return n, err
	}
	if len(s.end) == 0 {
		return 0, io.EOF
	}
	n = copy(p, s.end)
	s.end = s.end[n:]
	return n, nil
}

// finish ends it with these bytes.
func (s *stream) finish(with string) {
	s.mu.Lock()
	s.end, s.cut = []byte(with), true
	s.mu.Unlock()
	s.ReadCloser.Close() // wakes a Read
}

// streams has the last answer to a list or watch of DBUpgrades kept where it can be ended.
func (w *world) streams() *atomic.Pointer[stream] {
	var current atomic.Pointer[stream]
	w.proxy.Body = func(e *harness.Exchange, body io.ReadCloser) io.ReadCloser {
		if !isWatch(e) {
			return body
		}
		s := &stream{ReadCloser: body}
		current.Store(s)
		return s
	}
	return &current
}

func TestAWatchEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		end   string // of the stream; what is tried next meets refuse
		code  int    // 0: it is not refused
		more  string
		lists bool // all is listed again
	}{
		{name: "in order"},
		{name: "in the middle of an event", end: `{"type":"ADDED","object":{"kind":`, lists: false},
		{name: "with garbage", end: "<html>bad gateway</html>\n", lists: true},
		{name: "with 410 in the stream", end: `{"type":"ERROR","object":` + status(410, "Expired", "") + "}\n", lists: true},
		{name: "and is refused with 410", code: 410, lists: true},
		{name: "and is refused as from the future", code: 504, more: `,"details":{"causes":[{"reason":"ResourceVersionTooLarge"}]}`, lists: true},
		{name: "and is refused for a while", code: 503},
		{name: "and there are too many", code: 429, more: `,"details":{"retryAfterSeconds":1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			current := w.streams()
			var refusals atomic.Int32
			w.proxy.Instead = func(e *harness.Exchange, answer http.ResponseWriter) bool {
				if !isWatch(e) || isList(e) || tt.code == 0 || refusals.Add(1) > 1 {
					return false
				}
				reason := map[int]string{410: "Expired", 504: "Timeout", 503: "ServiceUnavailable", 429: "TooManyRequests"}[tt.code]
				return refuse(answer, tt.code, reason, tt.more)
			}
			w.create("kept")
			w.create("gone")
			w.start()
			w.knows(2, harness.Patience)
			w.noticed("gone", harness.Patience)
			// What happens while nobody listens must be found out: by the next watch, or by the list.
			proxied := current.Load()
			hold := make(chan struct{})
			w.proxy.Before = func(e *harness.Exchange) bool {
				if isWatch(e) {
					<-hold
				}
				return true
			}
			lists := w.count(isList)
			proxied.finish(tt.end)
			w.remove("gone")
			w.create("late")
			close(hold)
			w.noticed("late", harness.Patience)
			w.knows(2, harness.Patience)
			if got := w.count(isList) > lists; got != tt.lists {
				t.Errorf("listed again: %v\n%v", got, w.proxy.Exchanges())
			}
			if tt.code != 0 && refusals.Load() == 0 {
				t.Error("nothing was refused")
			}
		})
	}
}

// Where there are no streaming lists, pages of 500 are read.
func TestPages(t *testing.T) {
	t.Parallel()
	const many = 620
	for _, code := range []int{400, 422} {
		t.Run(fmt.Sprint("streaming lists are refused with ", code), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var expired atomic.Bool
			w.proxy.Instead = func(e *harness.Exchange, answer http.ResponseWriter) bool {
				if strings.Contains(e.URL, "sendInitialEvents") {
					return refuse(answer, code, "Invalid", "")
				}
				// The first second page has expired, in one of the two.
				if strings.Contains(e.URL, "continue=") && code == 422 && !expired.Swap(true) {
					return refuse(answer, 410, "Expired", "")
				}
				return false
			}
			for i := range many {
				w.create(fmt.Sprint("shop-", i))
			}
			w.start()
			w.knows(many, 2*harness.Patience)
			w.create("late")
			w.noticed("late", harness.Patience)
			if got := w.count(func(e *harness.Exchange) bool { return strings.Contains(e.URL, "continue=") }); got < 1 {
				t.Error("there was no second page")
			}
			if code == 422 && !expired.Load() {
				t.Error("no page has expired")
			}
		})
	}
}

// A server, or what is before it, that ends each watch at once is not asked without a pause.
func TestVeryShortWatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var short atomic.Bool
	w.proxy.Instead = func(e *harness.Exchange, answer http.ResponseWriter) bool {
		if !isWatch(e) || isList(e) || !short.Load() {
			return false
		}
		answer.Header().Set("Content-Type", "application/json")
		return true
	}
	current := w.streams()
	w.create("one")
	w.start()
	w.knows(1, harness.Patience)
	short.Store(true)
	before := w.count(isWatch)
	current.Load().finish("")
	ended := time.Now()
	harness.Eventually(t, harness.Patience, "three watches", func() error {
		if got := w.count(isWatch) - before; got < 3 {
			return fmt.Errorf("%d watches", got)
		}
		return nil
	})
	// With at least 0.8 and 1.6 s between them. Without pauses there would be thousands.
	if took := time.Since(ended); took < 2400*time.Millisecond {
		t.Errorf("%d watches in %v", w.count(isWatch)-before, took)
	}
	short.Store(false)
	w.create("late")
	w.noticed("late", harness.Patience)
	if lists := w.count(isList); lists != 1 {
		t.Errorf("%d lists", lists)
	}
}

// large is a DBUpgrade of 4 KB, as JSON. It is being deleted: nothing is to be done for it.
func large(ns string, i int) string {
	return fmt.Sprintf(`{"apiVersion":"dbupgrade.subbug.learning/v1alpha1","kind":"DBUpgrade","metadata":{"name":"shop-%d","namespace":%q,`+
		`"uid":"u%[1]d","resourceVersion":"%[1]d","generation":1,"deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["example.org/f"],`+
		`"annotations":{"a":%[3]q}},"spec":{"migrations":{"image":"shop/migrations:1"},"database":{"type":"selfHosted",`+
		`"connection":{"urlSecretRef":{"name":"db","key":"url"}}}}}`, i+1, ns, strings.Repeat("x", 3500))
}

// However long a list is, one object or one page of it is in memory at a time.
func TestMemoryOfALongList(t *testing.T) {
	const many, page = 20000, 500
	size := many * len(large("namespace-of-the-test", many)) >> 10 // KiB
	for _, streaming := range []bool{true, false} {
		t.Run(map[bool]string{true: "streaming", false: "pages"}[streaming], func(t *testing.T) {
			w := newWorld(t)
			w.proxy.Instead = func(e *harness.Exchange, answer http.ResponseWriter) bool {
				if !isWatch(e) {
					return false
				}
				if strings.Contains(e.URL, "sendInitialEvents") && !streaming {
					return refuse(answer, 400, "BadRequest", "")
				}
				answer.Header().Set("Content-Type", "application/json")
				if !isList(e) {
					answer.(http.Flusher).Flush()
					<-w.Context().Done() // nothing happens any more
					return true
				}
				if streaming {
					for i := range many {
						fmt.Fprintf(answer, `{"type":"ADDED","object":%s}`+"\n", large(w.ns, i))
					}
					fmt.Fprintf(answer, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d","annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n", many)
					answer.(http.Flusher).Flush()
					<-w.Context().Done()
					return true
				}
				first := 0
				if _, token, more := strings.Cut(e.URL, "continue="); more {
					fmt.Sscanf(token, "%d", &first)
				}
				fmt.Fprintf(answer, `{"kind":"DBUpgradeList","metadata":{"resourceVersion":"%d"`, many)
				if first+page < many {
					fmt.Fprintf(answer, `,"continue":"%d"`, first+page)
				}
				fmt.Fprint(answer, `},"items":[`)
				for i := first; i < first+page; i++ {
					if i > first {
						fmt.Fprint(answer, ",")
					}
					fmt.Fprint(answer, large(w.ns, i))
				}
				fmt.Fprint(answer, "]}")
				return true
			}
			w.start()
			w.knows(many, 5*time.Minute)
			peak, rss := w.process.PeakMemory(w), harness.Memory(w, w.process.Pid(), "Rss")
			t.Logf("%d objects, %d KiB of JSON: peak RSS %d KiB, then %d KiB", many, size, peak, rss)
			if peak > size/2 {
				t.Errorf("so much of the list was in memory")
			}
			w.process.Kill()
		})
	}
}

// etcd restored from a backup: resourceVersions begin anew from a lower one, objects come back, and
// a watch from a higher one hears nothing. Not parallel: it is the last one of this control plane.
func TestZRestoredFromABackup(t *testing.T) {
	w := newWorld(t)
	w.create("deleted-later")
	w.create("kept")
	// An API server that has just started refuses what it has not read the roles of. That is no want of
	// a right: it must not be the shipped account's.
	cluster.Kubectl(t, "create", "rolebinding", "reconciler", "-n", w.ns, "--clusterrole=dbupgrade-reconciler", "--serviceaccount="+w.ns+":default")
	harness.Eventually(t, harness.Patience, "the default service account", func() error {
		_, err := cluster.Client.CoreV1().ServiceAccounts(w.ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	w.startAs(cluster.AccountKubeconfig(t, w.ns, "default", w.proxy.URL, w.proxy.CA))
	w.knows(2, harness.Patience)
	w.noticed("kept", harness.Patience)
	var backup string
	cluster.Restart(t, func(dir string) {
		backup = filepath.Join(dir, "etcd.backup")
		copyDir(t, filepath.Join(dir, "etcd"), backup)
	})
	w.remove("deleted-later")
	for i := range 30 {
		w.create(fmt.Sprint("lost-", i))
	}
	w.noticed("lost-29", harness.Patience)
	w.knows(31, harness.Patience)
	cluster.Restart(t, func(dir string) {
		if err := os.RemoveAll(filepath.Join(dir, "etcd")); err != nil {
			t.Fatal(err)
		}
		copyDir(t, backup, filepath.Join(dir, "etcd"))
	})
	begin := time.Now()
	w.create("new")
	w.noticed("new", 5*time.Minute)
	t.Logf("noticed after %v", time.Since(begin).Round(time.Millisecond))
	w.knows(3, harness.Patience)
	for _, line := range w.process.Complaints() {
		if !strings.Contains(line, `"level":"warning"`) && !strings.Contains(line, "the pass failed and will be repeated") {
			t.Error(line)
		}
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
