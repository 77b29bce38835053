// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/harness"
)

// A reconciler that is killed at each of its requests in turn, before the API server hears of it
// and before its answer is heard, leaves the same end state to the next.
func TestKilledAtEachRequest(t *testing.T) {
	t.Parallel()
	const watches = 3
	// What a migration has until its Pod's trouble is told, without its last event and status, and
	// then: LIST Pods, DELETE Job, GET Job, PATCH status.
	const requestsOfATypo = 13
	stories := []struct {
		name string
		play func(w *world)
		end  string
		ran  []string
		jobs int // made, and each of them started
		// Of each run. One in which a write meets the Job controller's has those of another try besides.
		requests int
	}{
		{"a migration that succeeds", func(w *world) { w.create("shop", specOf("ok-1")) }, done, []string{"ok-1"}, 1,
			watches + requestsOfOneMigration},
		{"a migration that fails", func(w *world) { w.create("shop", specOf("fail-1")) }, failed, []string{"fail-1"}, 1,
			watches + requestsOfOneMigration},
		{"a typo that is corrected", func(w *world) {
			w.create("shop", specOf("typo-1"))
			w.await("shop", running, "ImagePullBackOff")
			w.image("shop", "ok-2")
		}, done, []string{"ok-2"}, 2, watches + requestsOfATypo + requestsOfOneMigration},
	}
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			story := func(t *testing.T, number int, answered bool) (hit bool) {
				w := newWorld(t)
				w.db()
				struck := w.startAndKillAt(number, answered)
				s.play(w)
				w.await("shop", s.end)
				select {
				case <-struck:
				default: // at what follows the last status, or not at all
					select {
					case <-struck:
					case <-time.After(10 * time.Second):
						return false
					}
					w.settle() // what the next one should not do
					w.await("shop", s.end)
				}
				w.wantRuns(s.ran...)
				w.wantJobs(s.jobs, s.jobs)
				return true
			}
			for number := 1; number <= s.requests; number++ {
				for _, answered := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d, answered %v", number, answered), func(t *testing.T) {
						t.Parallel()
						for range 3 {
							if story(t, number, answered) {
								return
							}
						}
						t.Errorf("no run of three came to request %d", number)
					})
				}
			}
		})
	}
}

// startAndKillAt starts a reconciler that is killed at its nth request and followed by another one.
// The channel is closed when that has happened.
func (w *world) startAndKillAt(number int, answered bool) (struck <-chan struct{}) {
	w.Helper()
	next := cluster.ReconcilerKubeconfig(w, "", nil)
	proxy := cluster.NewProxy(w)
	var first atomic.Pointer[harness.Process]
	killed := make(chan struct{})
	strike := func(e *harness.Exchange) bool {
		if e.Number != number {
			return true
		}
		for first.Load() == nil { // it is quicker than the line below that tells of it
		}
		first.Load().Kill()
		w.Logf("killed at request %v", e)
		harness.StartReconciler(w, next, "--namespace="+w.ns)
		close(killed)
		return false
	}
	if answered {
		proxy.After = strike
	} else {
		proxy.Before = strike
	}
	first.Store(w.startBehind(proxy))
	return killed
}

// Connections that break at any moment are no reason for anything but another try.
func TestConnectionsBreak(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{false, true} {
		t.Run(fmt.Sprintf("answered %v", answered), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.db()
			proxy := cluster.NewProxy(t)
			breaks := func(e *harness.Exchange) bool {
				// A third, without a period: a pass of three requests would always lose the same one.
				return bits.OnesCount(uint(e.Number))%3 != 0 || strings.Contains(e.URL, "watch=")
			}
			if answered {
				proxy.After = breaks
			} else {
				proxy.Before = breaks
			}
			w.startBehind(proxy)
			w.create("shop", specOf("ok-1"))
			w.await("shop", done)
			w.image("shop", "fail-2")
			w.await("shop", failed)
			w.image("shop", "ok-3")
			w.await("shop", done)
			w.wantRuns("ok-1", "fail-2", "ok-3")
			w.wantJobs(3, 3)
		})
	}
}
