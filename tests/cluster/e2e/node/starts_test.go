// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"strings"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

// starts are migrations that cannot start at first: the cause is shown for as long as it lasts, and
// whoever removes it need not do anything else.
func starts(t *testing.T) {
	parallel(t, []test{
		{"a typo in the image", imageTypo},
		{"a typo in the image, until the deadline", imageTypoUntilDeadline},
		{"an image without a shell", noShell},
		{"no node fits", unschedulable},
		{"a ConfigMap is missing", configMapMissing},
		{"no quota for a Pod", podQuota},
		{"no quota for a Job", jobQuota},
		{"the service account is missing", serviceAccountMissing},
		{"Pod Security refuses the Pod", podSecurity},
	})
}

// The typo locks nobody out: the corrected image takes the place of the run that never started.
func imageTypo(w *world) {
	w.secret()
	w.apply("v1-typo")
	object := w.await(running, "ImagePullBackOff", "localhost/migrations:v1-typo")
	w.wantReason(object, "ImagePullBackOff")
	w.wantColumns("NAME READY REASON IMAGE JOB PROGRESSING DEGRADED BLOCKED OBSERVEDGEN MESSAGE AGE",
		"shop False ImagePullBackOff localhost/migrations:v1-typo "+w.jobName()+" True False False 1 Migration Job")
	typo := w.jobName()
	w.image("v1")
	w.wait("Ready")
	w.await(done)
	w.wantHistory("Succeeded", "Superseded")
	w.wantJobs(w.jobName())
	w.wantTables("users")
	w.wantEvents("Normal MigrationStarted JobCreated: Created migration Job "+typo,
		"Normal MigrationStarted JobCreated: Created migration Job "+w.jobName(),
		"Normal MigrationSucceeded JobSucceeded: Migration completed successfully in …")
}

// Whoever comes only after the deadline reads what it was about.
func imageTypoUntilDeadline(w *world) {
	w.secret()
	w.apply("v1-typo", "activeDeadlineSeconds: 20")
	w.wait("Degraded")
	w.await(failed, "exceeded its deadline of 20 s; until then: ", "ImagePull", "localhost/migrations:v1-typo")
	w.wantEvents("Normal MigrationStarted JobCreated: Created migration Job "+w.jobName(),
		"Warning MigrationFailed JobFailed: Migration failed: DeadlineExceeded: exceeded its deadline of 20 s; until then: …")
	for _, e := range w.events() {
		if strings.Contains(e, "MigrationInProgress") {
			w.Error(e)
		}
	}
}

func noShell(w *world) {
	w.secret()
	w.apply("no-shell")
	w.wait("Degraded")
	w.await(failed, "the image has no `sh`: set spec.runner.command")
	w.runner(`"command": ["/atlas", "migrate", "apply", "--dir", "file://$(MIGRATIONS_DIR)", "--url", "$(DATABASE_URL)"]`)
	w.wait("Ready")
	w.wantHistory("Succeeded", "Failed")
	w.wantTables("users")
}

func unschedulable(w *world) {
	w.secret()
	w.apply("v1", "nodeSelector: {disk: fast}")
	w.wantReason(w.await(running, "Unschedulable", "node affinity/selector"), "Unschedulable")
	w.runner(`"nodeSelector": null`)
	w.wait("Ready")
	w.wantHistory("Succeeded", "Superseded")
}

func configMapMissing(w *world) {
	w.secret()
	w.apply("v1", "envFrom: [{configMapRef: {name: settings}}]")
	object := w.await(running, "CreateContainerConfigError", `configmap "settings" not found`)
	w.wantReason(object, "CreateContainerConfigError")
	job := w.jobName()
	w.kubectl("create", "configmap", "settings", "--from-literal=PGAPPNAME=migrations")
	w.wait("Ready")
	w.wantHistory("Succeeded")
	w.wantJobs(job)
}

func podQuota(w *world) {
	w.secret()
	w.kubectl("create", "quota", "none", "--hard=pods=0")
	w.apply("v1")
	w.wantReason(w.await(running, "cannot create its Pod", "exceeded quota: none"), "FailedCreate")
	w.kubectl("delete", "quota", "none")
	w.wait("Ready")
	w.wantHistory("Succeeded")
}

func jobQuota(w *world) {
	w.secret()
	w.kubectl("create", "quota", "none", "--hard=count/jobs.batch=0")
	// The quota counts only once its controller has seen it.
	harness.Eventually(w, harness.Patience, "the quota", func() error {
		_, err := node.TryKubectl("-n", w.ns, "wait", "--for=jsonpath={.status.hard}", "quota/none", "--timeout=1s")
		return err
	})
	w.apply("v1")
	w.wantReason(w.await(rejected, "exceeded quota: none"), "JobRejected")
	w.kubectl("delete", "quota", "none")
	w.wait("Ready")
	w.wantHistory("Succeeded")
}

func serviceAccountMissing(w *world) {
	w.secret()
	w.apply("v1", "serviceAccountName: migrator")
	w.wantReason(w.await(running, "cannot create its Pod", `serviceaccount "migrator" not found`), "FailedCreate")
	w.kubectl("create", "serviceaccount", "migrator")
	w.wait("Ready")
	w.wantHistory("Succeeded")
}

func podSecurity(w *world) {
	w.secret()
	w.kubectl("label", "namespace", w.ns, "pod-security.kubernetes.io/enforce=restricted")
	w.apply("v1")
	w.wantReason(w.await(running, `violates PodSecurity "restricted:latest"`, "runAsNonRoot"), "FailedCreate")
	w.runner(`"podSecurityContext": {"runAsNonRoot": true}`)
	w.wait("Ready")
	w.wantHistory("Succeeded", "Superseded")
}
