// SPDX-License-Identifier: Apache-2.0

//go:build picture

package monitoring

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dbupgrade/tests/cluster/e2e/harness"
)

// TestPicture draws the dashboard into the file that DASHBOARD_PICTURE names, with what Prometheus
// has seen of a night that is played in minutes: script/dashboard-picture calls it.
func TestPicture(t *testing.T) {
	out := os.Getenv("DASHBOARD_PICTURE")
	if out == "" {
		t.Fatal("DASHBOARD_PICTURE is not set: script/dashboard-picture sets it")
	}
	w := newWorld(t)
	w.callWebhook(w.webhook.Addr)
	w.secret("db")
	start := time.Now()
	play(w, start)
	draw := exec.Command(harness.Root("tests", "monitoring", "draw-dashboard.py"), w.prometheus,
		strconv.FormatInt(start.Unix(), 10), strconv.FormatInt(time.Now().Unix(), 10), "1", out)
	draw.Stderr = os.Stderr
	if err := draw.Run(); err != nil {
		t.Fatal(err)
	}
}

// night is how long its ten hours are played.
const night = 2 * time.Minute

// play is the night: teams release all the time, one release is broken, Secrets come late, the
// leader dies, a right is missing for a moment.
func play(w *world, start time.Time) {
	hour := func(hours float64) time.Time { return start.Add(time.Duration(hours * float64(night) / 10)) }
	at := func(hours float64) { time.Sleep(time.Until(hour(hours))) }
	end := hour(10)
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		release(w, hour(6)) // not while the right is missing
		at(6.6)
		release(w, hour(9))
	})
	work.Go(func() { review(w, end) })

	at(0.5)
	w.create(upgrade("suspended", "ok-s", "db", suspended))
	w.create(upgrade("late-1", "ok-l1", "late"))
	w.create(upgrade("late-2", "ok-l2", "late"))
	at(2)
	w.create(upgrade("broken", "fail-1", "db"))
	w.create(upgrade("long", "hang-long", "db"))
	at(3)
	w.secret("late")
	w.create(upgrade("guarded", "ok-g", "db", guarded))
	at(4)
	w.reconcilers[0].Kill()
	at(4.2)
	w.start(w.reconcilers[0])
	at(5)
	w.image("broken", "ok-fixed")
	at(6.2)
	cluster.Kubectl(w, "patch", "clusterrole", "dbupgrade-reconciler", "--type=json",
		`-p=[{"op":"replace","path":"/rules/5/verbs","value":["list"]}]`)
	w.create(upgrade("forbidden", "ok-f", "other"))
	w.await("forbidden", "Forbidden")
	if err := cluster.InstallRights(); err != nil {
		w.Fatal(err)
	}
	at(7)
	w.create(upgrade("broken-too", "fail-2", "db"))
	at(8.5)
	w.kubelet.Finish("hang-long", 0)
	time.Sleep(time.Until(end))
}

// release makes objects whose migrations take a second to half a minute.
func release(w *world, end time.Time) {
	var work sync.WaitGroup
	defer work.Wait()
	for time.Now().Before(end) {
		tag := fmt.Sprint("hang-", time.Now().Unix())
		w.create(upgrade(tag, tag, "db"))
		work.Go(func() {
			time.Sleep(time.Duration(1000+rand.ExpFloat64()*4000) * time.Millisecond)
			w.kubelet.Finish(tag, 0)
		})
		time.Sleep(time.Duration(1500+rand.IntN(4000)) * time.Millisecond)
	}
}

// review asks for what is not done, as GitOps tools do all the time; now and then for what is wrong.
// And somebody is there who does not speak the API server's language.
func review(w *world, end time.Time) {
	client := w.webhook.Client()
	for i := 1; time.Now().Before(end); i++ {
		object := upgrade("asked", fmt.Sprint("ok-", i), "db")
		if i%12 == 0 {
			object = upgrade("asked", "with space", "")
		}
		_ = w.try(object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if i%40 == 0 {
			_, _, _ = w.webhook.Post(w.Context(), client, "/nowhere", []byte("{}"))
			if connection, err := net.Dial("tcp", w.webhook.Addr); err == nil {
				_, _ = connection.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
				_ = connection.Close()
			}
		}
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
	}
}
