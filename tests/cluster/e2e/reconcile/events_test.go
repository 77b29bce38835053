// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dbupgrade/tests/cluster/e2e/harness"
)

func isEvent(e *harness.Exchange) bool {
	return strings.HasPrefix(e.URL, "/apis/events.k8s.io/v1/") && e.Method != "GET"
}

// events are those about an object, in the order of their times.
func (w *world) events(name string) []eventsv1.Event {
	w.Helper()
	list, err := cluster.Client.EventsV1().Events(w.ns).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	events := slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool {
		return e.Regarding.Name != name || e.Regarding.Kind != "DBUpgrade"
	})
	slices.SortFunc(events, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	return events
}

func reasons(events []eventsv1.Event) (list []string) {
	for _, e := range events {
		list = append(list, e.Reason)
	}
	return list
}

var storyOfASuccess = []string{"MigrationStarted", "MigrationInProgress", "MigrationSucceeded"}

// No pass waits for an event. They come late, in their order and with the times at which things
// happened; what is still waiting when the process is asked to stop is sent before it ends.
func TestEventsHoldUpNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	proxy := cluster.NewProxy(t)
	release := make(chan struct{})
	proxy.Before = func(e *harness.Exchange) bool {
		if isEvent(e) {
			<-release
		}
		return true
	}
	r := w.startBehind(proxy)
	w.create("shop", specOf("ok-1"))
	w.await("shop", done)
	if got := w.events("shop"); len(got) != 0 {
		t.Errorf("events that were held back: %v", reasons(got))
	}
	finished := time.Now()
	time.AfterFunc(500*time.Millisecond, func() { close(release) })
	r.Stop(t)
	got := w.events("shop")
	if !slices.Equal(reasons(got), storyOfASuccess) {
		t.Errorf("want %v, got %v", storyOfASuccess, reasons(got))
	}
	for _, e := range got {
		if e.EventTime.After(finished) {
			t.Errorf("%s has the time of its sending", e.Reason)
		}
	}
}

// An API server that takes no events: they are tried again, in their order, until it does.
func TestEventsAreTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	proxy := cluster.NewProxy(t)
	seen := 0
	proxy.Before = func(e *harness.Exchange) bool { // events come one at a time
		if isEvent(e) {
			seen++
		}
		return !isEvent(e) || seen > 2
	}
	w.startBehind(proxy)
	w.create("shop", specOf("ok-1"))
	w.await("shop", done)
	harness.Eventually(t, harness.Patience, "events", func() error {
		if got := reasons(w.events("shop")); !slices.Equal(got, storyOfASuccess) {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
}

// Entering the same state again is one event with a count, not many.
func TestARepeatedStateIsASeries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.create("shop", specOf("ok-1"))
	w.await("shop", secretMiss)
	suspend := func(yes bool) {
		w.patch("shop", map[string]any{"spec": map[string]any{"suspend": yes}})
	}
	var last eventsv1.Event
	harness.Eventually(t, harness.Patience, "a series", func() error {
		suspend(true)
		w.await("shop", suspended)
		suspend(false)
		w.await("shop", secretMiss)
		events := w.events("shop")
		if len(events) == 0 {
			return fmt.Errorf("no event yet")
		}
		if len(events) > 1 {
			t.Fatalf("events: %v", reasons(events))
		}
		last = events[0]
		if last.Series == nil { // both transitions in one second are told apart by nobody
			return fmt.Errorf("no series yet")
		}
		return nil
	})
	if last.Reason != "SecretNotFound" || last.Series.Count < 2 || !last.Series.LastObservedTime.After(last.EventTime.Time) {
		t.Errorf("%s %+v", last.Reason, last.Series)
	}
}

// Nobody reads events of a namespace that is going: no complaint about them either.
func TestANamespaceEndsQuietly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.create("shop", specOf("hang-1"))
	w.awaitRun("shop", "hang-1")
	if err := cluster.Client.CoreV1().Namespaces().Delete(t.Context(), w.ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.settle()
}
