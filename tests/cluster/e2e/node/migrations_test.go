// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dbupgrade/tests/cluster/e2e/harness"
)

func migrations(t *testing.T) {
	parallel(t, []test{
		{"the story of script/demo", story},
		{"three mistakes are named at once", threeMistakes},
		{"a key is missing in the Secret", keyMissing},
		{"a wrong password, and a retry", wrongPassword},
		{"a tool that prints the password", toolPrintsPassword},
		{"a password that is not URL-encoded", passwordNotEncoded},
		{"a deadline is exceeded", deadlineExceeded},
		{"a finished Job is deleted", finishedJobDeleted},
		{"the DBUpgrade is deleted while it runs", deletedWhileRunning},
		{"the Pod is deleted while it runs", podDeleted},
		{"the Pod is evicted while it runs", podEvicted},
		{"too little memory", tooLittleMemory},
	})
}

// From the missing Secret over two images and an SQL error to the corrected one, looked at with the
// commands that people type.
func story(w *world) {
	w.apply("v1")
	w.wait("Degraded")
	w.wantReason(w.await(secretMissing, `connection secret "db" not found in namespace "`+w.ns+`"`), "SecretNotFound")
	w.secret()
	w.wait("Ready")
	object := w.await(done, "Migration completed successfully in ")
	w.wantReason(object, "MigrationComplete")
	v1 := w.jobName()
	waited := w.creation("job/" + v1).Sub(w.creation("secret/db"))
	w.Logf("the Job came %v after the Secret", waited)
	if waited > 30*time.Second {
		w.Error("that was long")
	}
	w.wantTables("users")
	w.wantJobs(v1)
	w.wantColumns("NAME READY REASON IMAGE JOB AGE", "shop True MigrationComplete localhost/migrations:v1 "+v1)

	w.image("v2")
	w.wait("Ready")
	w.await(done)
	v2 := w.jobName()
	w.wantTables("orders users")
	w.wantJobs(v2)

	w.image("v3-broken")
	w.wait("Degraded")
	const sqlError = `relation "order_items" does not exist`
	object = w.await(failed, "Migration failed: ", "exit code 1", sqlError)
	w.wantReason(object, "MigrationFailed")
	w.wantShown(harness.Text(object, "status", "lastRun", "message"), sqlError)
	broken := w.jobName()
	w.wantColumns("NAME READY REASON IMAGE JOB PROGRESSING DEGRADED BLOCKED OBSERVEDGEN MESSAGE AGE",
		"shop False MigrationFailed localhost/migrations:v3-broken "+broken, "False True False 3 Migration failed:", sqlError)
	w.wantShown(w.kubectl("describe", "dbu", "shop"), "MigrationStarted", "MigrationSucceeded", "SecretNotFound", "MigrationFailed", sqlError)

	w.image("v3-fixed")
	w.wait("Ready")
	w.await(done)
	fixed := w.jobName()
	if got := node.SQL(w, w.ns, `SELECT data_type FROM information_schema.columns WHERE table_name = 'orders' AND column_name = 'total'`); got != "numeric" {
		w.Errorf("orders.total: %q", got)
	}
	w.wantHistory("Succeeded", "Failed", "Succeeded", "Succeeded")
	w.wantShown(w.kubectl("get", "events", "--field-selector=reason=MigrationFailed"), sqlError)
	w.wantJobs(fixed)
	w.wantEvents(
		`Warning SecretNotFound SecretMissing: connection secret "db" not found in namespace "`+w.ns+`"`,
		"Normal MigrationStarted JobCreated: Created migration Job "+v1,
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …",
		"Normal MigrationStarted JobCreated: Created migration Job "+v2,
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …",
		"Normal MigrationStarted JobCreated: Created migration Job "+broken,
		"Warning MigrationFailed JobFailed: Migration failed: …",
		"Normal MigrationStarted JobCreated: Created migration Job "+fixed,
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …")
}

// wantColumns checks what kubectl get shows: its header, and parts of the line below. The header with
// MESSAGE is that of -o wide.
func (w *world) wantColumns(header string, parts ...string) {
	w.Helper()
	args := []string{"get", "dbu", "shop"}
	if strings.Contains(header, "MESSAGE") {
		args = append(args, "-o", "wide")
	}
	first, rest, _ := strings.Cut(w.kubectl(args...), "\n")
	if got := strings.Join(strings.Fields(first), " "); got != header {
		w.Errorf("columns: want %s, got %s", header, got)
	}
	w.wantShown(strings.Join(strings.Fields(rest), " "), parts...)
}

func threeMistakes(w *world) {
	err := w.applyYAML(`
apiVersion: dbupgrade.subbug.learning/v1alpha1
kind: DBUpgrade
metadata: {name: shop}
spec:
  migrations: {image: "localhost/migrations:v1; reboot", dir: migrations}
  database: {type: selfHosted}
`)
	if err == nil {
		w.Fatal("was not refused")
	}
	w.wantShown(err.Error(), `The DBUpgrade "shop" is invalid`, "* spec.migrations.image: ", "* spec.migrations.dir: ",
		"* spec.database.connection", "database.type=selfHosted requires connection to be set")
	if out := w.kubectl("get", "dbu"); out != "" {
		w.Errorf("is there all the same:\n%s", out)
	}
}

func keyMissing(w *world) {
	w.kubectl("create", "secret", "generic", "db", "--from-literal=uri=x")
	w.apply("v1")
	w.wait("Degraded")
	object := w.await(secretMissing, `key "url" not found in secret "db"`)
	w.wantReason(object, "SecretNotFound")
	w.patchURL("")
	w.await(secretMissing, `"url"`, `"db"`)
	w.patchURL(w.url(password))
	w.wait("Ready")
	w.wantEvents(`Warning SecretNotFound SecretMissing: key "url" not found in secret "db"…`,
		"Normal MigrationStarted JobCreated: Created migration Job "+w.jobName(),
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …")
}

// Whoever corrects the Secret after the failure asks for a retry by the annotation.
func wrongPassword(w *world) {
	w.kubectl("create", "secret", "generic", "db", "--from-literal=url="+w.url(password+"-not"))
	w.apply("v1")
	w.wait("Degraded")
	w.await(failed, "password authentication failed for user")
	w.patchURL(w.url(password))
	w.kubectl("annotate", "dbu", "shop", "dbupgrade.subbug.learning/retry=1")
	w.wait("Ready")
	w.await(done)
	w.wantHistory("Succeeded", "Failed")
	w.wantTables("users")
}

func toolPrintsPassword(w *world) {
	w.secret()
	w.apply("v1", `command: [sh, -c, "echo cannot use $DATABASE_URL >&2; exit 3"]`)
	w.wait("Degraded")
	object := w.await(failed, "exit code 3", "cannot use postgres://"+w.ns+":***@postgres."+w.ns+".svc")
	if code, ok := object.Object["status"].(map[string]any)["lastRun"].(map[string]any)["exitCode"]; !ok || code != int64(3) {
		w.Errorf("lastRun.exitCode: %v", code)
	}
}

// Atlas complains with the whole URL, or with what it takes for a port.
func passwordNotEncoded(w *world) {
	w.secret()
	w.patchURL(w.url(password + "/x"))
	w.apply("v1")
	w.await(failed, "postgres://"+w.ns+":***@postgres.", "invalid port")
	for i, url := range []string{w.url(password + "#x"), w.url(password + " x"), w.url(password) + "\n"} {
		w.patchURL(url)
		w.kubectl("annotate", "--overwrite", "dbu", "shop", fmt.Sprint("dbupgrade.subbug.learning/retry=", i))
		w.awaitRuns(2 + i)
		w.await(failed, "postgres://"+w.ns+":***")
	}
	if text := w.kubectl("get", "dbu,events,jobs", "-o", "yaml"); strings.Contains(text, "horse") {
		w.Errorf("a part of the password is shown:\n%s", text)
	}
}

func deadlineExceeded(w *world) {
	w.secret()
	w.apply("slow", "activeDeadlineSeconds: 8", "terminationGracePeriodSeconds: 1")
	w.wait("Degraded")
	w.wantReason(w.await(failed, "exceeded its deadline of 8 s"), "MigrationFailed")
	w.wantHistory("Failed")
	w.wantEvents("Normal MigrationStarted JobCreated: Created migration Job "+w.jobName(),
		"Normal MigrationInProgress JobRunning: Migration Job "+w.jobName()+" is running",
		"Warning MigrationFailed JobFailed: Migration failed: DeadlineExceeded: exceeded its deadline of 8 s")
	// A longer one is another attempt. What PostgreSQL still does of the first holds Atlas's lock.
	w.runner(`"activeDeadlineSeconds": 60`)
	w.wait("Ready")
	w.wantHistory("Succeeded", "Failed")
}

func finishedJobDeleted(w *world) {
	w.secret()
	w.apply("v1")
	w.wait("Ready")
	job := w.jobName()
	w.kubectl("delete", "jobs", "--all")
	w.kubectl("annotate", "dbu", "shop", "looked=at") // even when there is a reason to look
	time.Sleep(5 * time.Second)
	w.await(done)
	w.wantJobs()
	w.wantHistory("Succeeded")
	w.wantEvents("Normal MigrationStarted JobCreated: Created migration Job "+job,
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …")
}

func deletedWhileRunning(w *world) {
	w.secret()
	w.apply("slow", "terminationGracePeriodSeconds: 1")
	w.awaitRunning()
	w.kubectl("delete", "dbu", "shop", "--timeout="+harness.Patience.String())
	w.kubectl("wait", "--for=delete", "jobs,pods", "--all", "--timeout="+harness.Patience.String())
	w.wantTables("users")
}

// A person who deletes the Pod of a running migration means it.
func podDeleted(w *world) {
	w.secret()
	w.apply("slow", "terminationGracePeriodSeconds: 1")
	job := w.awaitRunning()
	w.kubectl("delete", "pods", "--all")
	w.wait("Degraded")
	w.await(failed, "Migration failed: ", "its Pod was deleted; ")
	w.wantHistory("Failed")
	w.wantJobs(job)
}

// A drained node is not a failed migration: it runs again, in the same Job.
func podEvicted(w *world) {
	w.secret()
	w.apply("slow", "terminationGracePeriodSeconds: 1")
	job := w.awaitRunning()
	w.evictAll()
	w.wait("Ready")
	w.await(done)
	w.wantHistory("Succeeded")
	w.wantJobs(job)
	w.wantEvents("Normal MigrationStarted JobCreated: Created migration Job "+job,
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …")
}

func tooLittleMemory(w *world) {
	w.secret()
	w.apply("v1", "command: [tail, /dev/zero]", "resources: {limits: {memory: 16Mi}}")
	w.wait("Degraded")
	w.await(failed, "OOMKilled", "exit code 137")
	w.runner(`"command": null, "resources": null`)
	w.wait("Ready")
}
