// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/http"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dbupgrade/tests/cluster/e2e/harness"
)

// The requests of one migration from the object's creation to Ready: GET Secret, POST Job, PATCH
// status (Starting), LIST Jobs, LIST Pods, PATCH Job (unsuspend), event, PATCH status (running),
// event, PATCH status (succeeded), event.
const requestsOfOneMigration = 11

func TestAMigrationSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	proxy := cluster.NewProxy(t)
	w.startBehind(proxy)
	w.create("shop", specOf("ok-1"))
	object := w.await("shop", done, "Migration completed successfully in ")
	w.wantRuns("ok-1")
	w.wantJobs(1, 1)
	w.wantEvents("shop", map[string]int{"Normal MigrationStarted": 1, "Normal MigrationInProgress": 1, "Normal MigrationSucceeded": 1})
	for path, want := range map[string]string{
		"reason": "MigrationComplete", "appliedImage": image("ok-1"), "lastRun.result": "Succeeded", "lastRun.image": image("ok-1"),
		"appliedKey": harness.Text(object, "status", "lastRun", "runKey"), "jobName": harness.Text(object, "status", "lastRun", "jobName"),
	} {
		if got := harness.Text(object, append([]string{"status"}, strings.Split(path, ".")...)...); got != want || got == "" {
			t.Errorf("status.%s: want %q, got %q", path, want, got)
		}
	}
	t.Run("with few requests", func(t *testing.T) {
		var used []string
		want := requestsOfOneMigration
		for _, e := range proxy.Exchanges() {
			// A slow Job controller costs some more: it writes between the LIST and the PATCH that starts
			// the Job, or makes no Pod for so long that its events are asked for.
			if e.Status == http.StatusConflict {
				want += 3
			} else if e.Method == http.MethodGet && strings.Contains(e.URL, "/events?") {
				want++
			}
			// The first lists come with the watch, or in pages where the API server cannot do that.
			if !strings.Contains(e.URL, "watch=") && !strings.Contains(e.URL, "resourceVersion=0") && !strings.Contains(e.URL, "limit=500") {
				used = append(used, e.String())
			}
		}
		t.Logf("%d requests:\n%s", len(used), strings.Join(used, "\n"))
		if len(used) > want {
			t.Errorf("want %d at most", want)
		}
	})
	t.Run("and costs none afterwards", func(t *testing.T) {
		before := len(proxy.Exchanges())
		w.settle()
		if after := proxy.Exchanges(); len(after) != before {
			t.Errorf("requests for a finished object: %v", after[before:])
		}
	})
}

func TestOneReconcilerForAllNamespaces(t *testing.T) {
	// Not parallel: it would join in with the others.
	a, b := newWorld(t), newWorld(t)
	r := harness.StartReconciler(t, cluster.ReconcilerKubeconfig(t, "", nil))
	for _, w := range []*world{a, b} {
		w.db()
		w.create("shop", specOf("ok-1"))
	}
	for _, w := range []*world{a, b} {
		w.await("shop", done)
		w.wantRuns("ok-1")
	}
	t.Logf("memory: %d KiB, of which %d private and dirty", harness.Memory(t, r.Pid(), "Rss"), harness.Memory(t, r.Pid(), "Private_Dirty"))
	r.Stop(t)
}

func TestTheSecretComesLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.create("shop", specOf("ok-1"))
	w.await("shop", secretMiss, `connection secret "db" not found in namespace "`+w.ns+`"`)
	w.secret("db", map[string]string{"other": password})
	w.await("shop", secretMiss, `key "url" not found in secret "db"`)
	w.secret("db", map[string]string{"url": ""})
	w.await("shop", secretMiss, `key "url"`, "empty")
	w.wantJobs(0, 0)
	w.db()
	w.await("shop", done)
	w.wantRuns("ok-1")
	w.wantEvents("shop", map[string]int{"Warning SecretNotFound": 1, "Normal MigrationStarted": 1,
		"Normal MigrationInProgress": 1, "Normal MigrationSucceeded": 1})
}

func TestAMigrationFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.create("shop", specOf("fail-1"))
	object := w.await("shop", failed, `relation "users" already exists`, "exit code 1")
	job := harness.Text(object, "status", "jobName")
	if got := harness.Text(object, "status", "reason"); got != "MigrationFailed" {
		t.Errorf("status.reason: %s", got)
	}
	w.settle()
	w.wantRuns("fail-1")
	w.wantEvents("shop", map[string]int{"Normal MigrationStarted": 1, "Normal MigrationInProgress": 1, "Warning MigrationFailed": 1})
	w.image("shop", "ok-2")
	object = w.await("shop", done)
	w.wantRuns("fail-1", "ok-2")
	if got := strings.Join(harness.History(object), " "); got != "Succeeded Failed" {
		t.Errorf("history: %s", got)
	}
	w.jobGone(job)
}

func TestTheJobIsAsPromised(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.create("shop", specOf("hang-1", set(int64(77), "runner", "activeDeadlineSeconds"), set("/db/migrations", "migrations", "dir"),
		set([]any{map[string]any{"name": "A", "value": "b"}}, "runner", "env"), set(int64(3600), "runner", "ttlSecondsAfterFinished"),
		set(map[string]any{"runAsNonRoot": true}, "runner", "podSecurityContext"), set("default", "runner", "serviceAccountName"),
		set([]any{map[string]any{"key": "db", "operator": "Exists"}}, "runner", "tolerations")))
	name := w.awaitRun("shop", "hang-1")
	job := w.job(name)
	pod := job.Spec.Template.Spec
	c := pod.Containers[0]
	object := w.get("shop")
	for what, ok := range map[string]bool{
		"owner": len(job.OwnerReferences) == 1 && job.OwnerReferences[0].UID == object.GetUID() && *job.OwnerReferences[0].Controller &&
			*job.OwnerReferences[0].BlockOwnerDeletion,
		"deadline":           *job.Spec.ActiveDeadlineSeconds == 77,
		"no second try":      *job.Spec.BackoffLimit == 0,
		"replacement":        *job.Spec.PodReplacementPolicy == batchv1.Failed,
		"disruption":         job.Spec.PodFailurePolicy.Rules[0].Action == batchv1.PodFailurePolicyActionIgnore,
		"no TTL before":      job.Spec.TTLSecondsAfterFinished == nil,
		"dir":                strings.Contains(c.Args[0], `--dir "file:///db/migrations"`),
		"env":                c.Env[0].ValueFrom.SecretKeyRef.Name == "db" && c.Env[1].Value == "/db/migrations" && c.Env[2].Name == "A",
		"security":           !*c.SecurityContext.AllowPrivilegeEscalation && string(c.SecurityContext.Capabilities.Drop[0]) == "ALL",
		"merged with ours":   *pod.SecurityContext.RunAsNonRoot && pod.SecurityContext.SeccompProfile.Type == "RuntimeDefault",
		"toleration":         pod.Tolerations[0].Key == "db",
		"no token":           !*pod.AutomountServiceAccountToken,
		"service account":    pod.ServiceAccountName == "default",
		"label":              job.Labels["dbupgrade.subbug.learning/owner-uid"] == string(object.GetUID()),
		"the Pod's label":    job.Spec.Template.Labels["dbupgrade.subbug.learning/name"] == "shop",
		"run":                job.Annotations["dbupgrade.subbug.learning/run"] == "1",
		"run key":            job.Annotations["dbupgrade.subbug.learning/run-key"] == harness.Text(object, "status", "lastRun", "runKey"),
		"not to be evicted":  job.Spec.Template.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false",
		"logs as last words": c.TerminationMessagePolicy == "FallbackToLogsOnError",
	} {
		if !ok {
			t.Errorf("%s: %+v", what, job)
		}
	}
	w.kubelet.Finish("hang-1", 0)
	w.await("shop", done)
	harness.Eventually(w, harness.Patience, "the TTL is set once the outcome is recorded", func() error {
		if ttl := w.job(name).Spec.TTLSecondsAfterFinished; ttl == nil || *ttl != 3600 {
			return errf("%v", ttl)
		}
		return nil
	})
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.create("shop", specOf("hang-1", set(int64(1), "runner", "activeDeadlineSeconds")))
	w.await("shop", failed, "exceeded its deadline of 1 s")
	w.settle()
	w.wantJobs(1, 1)
}

func TestPendingIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.create("shop", specOf("typo-1"))
	object := w.await("shop", running, "ImagePullBackOff", image("typo-1"))
	if got := harness.Text(object, "status", "reason"); got != "ImagePullBackOff" {
		t.Errorf("status.reason: %s", got)
	}
	w.image("shop", "ok-1")
	object = w.await("shop", done)
	if got := strings.Join(harness.History(object), " "); got != "Succeeded Superseded" {
		t.Errorf("history: %s", got)
	}
	w.wantRuns("ok-1")
	w.wantJobs(2, 2)
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	suspend := func(value bool) {
		w.patch("shop", map[string]any{"spec": map[string]any{"suspend": value}})
	}
	w.create("shop", specOf("hang-1", set(true, "suspend")))
	w.await("shop", suspended)
	w.settle()
	w.wantJobs(0, 0)
	suspend(false)
	w.awaitRun("shop", "hang-1")
	suspend(true)
	w.await("shop", running)
	w.kubelet.Finish("hang-1", 0)
	w.await("shop", strings.Replace(done, "Blocked=False/Idle", "Blocked=True/Suspended", 1))
	w.image("shop", "ok-2")
	w.await("shop", suspended)
	w.settle()
	w.wantRuns("hang-1")
	suspend(false)
	w.await("shop", done)
	w.wantRuns("hang-1", "ok-2")
}

func rdsSpec() map[string]any {
	return map[string]any{
		"migrations": map[string]any{"image": image("ok-1")},
		"database": map[string]any{"type": "awsRds", "aws": map[string]any{
			"roleArn": "arn:aws:iam::123456789012:role/migrate", "region": "eu-central-1",
			"host": "db.example.com", "dbName": "app", "username": "app"}}}
}

func TestWhatIsNotImplementedIsBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	w.create("rds", rdsSpec())
	w.await("rds", aws, "AWS RDS/Aurora support not yet implemented")
	w.create("checked", specOf("ok-1", set([]any{map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"app": "shop"}}, "minVersion": "1.2.3"}},
		"checks", "pre", "minPodVersions")))
	w.await("checked", checks)
	w.settle()
	w.wantJobs(0, 0)
}

func TestLongNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	names := []string{
		strings.Repeat("a", 63),
		strings.Repeat("abcdefghi.", 25) + "xyz", // 253
		strings.Repeat("abcdefghi.", 25) + "xyy",
		"a.b.c",
	}
	for _, name := range names {
		w.create(name, specOf("ok-1"))
	}
	for _, name := range names {
		object := w.await(name, done)
		if job := harness.Text(object, "status", "jobName"); len(job) > 63 || strings.Contains(job, ".") {
			t.Errorf("%s: Job %s", name, job)
		}
	}
	w.wantJobs(len(names), len(names))
}

func TestManyAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	w.start()
	names := strings.Fields("a b c d e f g h i j k l m n o p q r s t")
	for _, name := range names {
		w.create(name, specOf("ok-"+name))
	}
	for _, name := range names {
		w.await(name, done)
	}
	w.wantJobs(len(names), len(names))
}

func (w *world) job(name string) *batchv1.Job {
	w.Helper()
	job, err := cluster.Client.BatchV1().Jobs(w.ns).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return job
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db()
	r := w.start()
	w.create("shop", specOf("hang-1"))
	w.awaitRun("shop", "hang-1")
	r.Stop(t)
	w.kubelet.Finish("hang-1", 0)
	time.Sleep(time.Second)
	w.start()
	w.await("shop", done)
	w.wantRuns("hang-1")
}
