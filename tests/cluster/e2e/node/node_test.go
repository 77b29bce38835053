// SPDX-License-Identifier: Apache-2.0

//go:build node

// Package node judges the operator as it is shipped, its image and its manifests, on a whole cluster
// with the real kubelet, PostgreSQL and Atlas. Each test has a namespace and a database of its own:
//
//	go test -count=1 -tags=node -parallel=8 ./node
//	E2E_KEEP=1 go test -count=1 -tags=node -v -run 'TestNode/starts/a_typo' ./node
//
// Needs root. harness.Node says what can be given in the environment.
package node

import (
	"os"
	"testing"

	"dbupgrade/tests/cluster/e2e/harness"
)

var node *harness.Node

func TestMain(m *testing.M) { os.Exit(harness.RunNode(m, &node)) }

// TestNode has an order: what troubles the operator comes after what must not be troubled, and its
// removal after that.
func TestNode(t *testing.T) {
	t.Run("migrations", migrations)
	t.Run("starts", starts)
	t.Run("the quick start", quickStart)
	t.Run("memory", memory)
	t.Run("the password is nowhere", passwordNowhere)
	t.Run("restarts", restarts)
	t.Run("the API server is gone for a while", apiServerGone)
	t.Run("the password is nowhere after restarts", passwordNowhere)
	t.Run("uninstall", uninstall)
	t.Run("by Helm", byHelm)
}

// parallel runs tests at the same time, each in a world of its own.
func parallel(t *testing.T, tests []test) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.play(newWorld(t))
		})
	}
}

type test struct {
	name string
	play func(w *world)
}
