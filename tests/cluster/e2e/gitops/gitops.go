// SPDX-License-Identifier: Apache-2.0

// Package gitops judges a live DBUpgrade as the tools of GitOps do: by kstatus, as Argo CD does with
// the health check of manifests/gitops, and as Flux does with the expressions there.
package gitops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"

	"dbupgrade/tests/cluster/e2e/harness"
)

// KStatus is what kstatus says: Flux without expressions, Helm 4, kpt, cli-utils.
func KStatus(object *unstructured.Unstructured) (string, error) {
	result, err := status.Compute(object)
	if err != nil {
		return "", err
	}
	return result.Status.String(), nil
}

// HealthScript reads the health check for Argo CD.
func HealthScript() (string, error) {
	text, err := os.ReadFile(harness.Root("manifests", "gitops", "argocd-health.lua"))
	return string(text), err
}

// ArgoCD is the health of an object, and its message, by a script: what gitops-engine
// (GetResourceHealth) and Argo CD (util/lua) do with it.
func ArgoCD(script string, object *unstructured.Unstructured) (health, message string, err error) {
	if object.GetDeletionTimestamp() != nil {
		return "Progressing", "Pending deletion", nil // it does not ask the script
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // Argo CD's limit
	defer cancel()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	state.SetContext(ctx)
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", "", err
		}
	}
	text, err := json.Marshal(object.Object)
	if err != nil {
		return "", "", err
	}
	value, err := luajson.Decode(state, text)
	if err != nil {
		return "", "", err
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(script); err != nil {
		return "", "", err
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("the script returned %v, no table", state.Get(-1))
	}
	return lua.LVAsString(result.RawGetString("status")), lua.LVAsString(result.RawGetString("message")), nil
}

// Expressions are an entry of healthCheckExprs of a Flux Kustomization.
type Expressions struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	InProgress string `json:"inProgress"`
	Failed     string `json:"failed"`
	Current    string `json:"current"`
}

// FluxExpressions reads those of manifests/gitops.
func FluxExpressions() (*Expressions, error) {
	text, err := os.ReadFile(harness.Root("manifests", "gitops", "flux-kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Spec healthChecks `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, err
	}
	return kustomization.Spec.forDBUpgrades()
}

// StrictExpressions reads those that docs/gitops.md shows.
func StrictExpressions() (*Expressions, error) {
	text, err := os.ReadFile(harness.Root("docs", "gitops.md"))
	if err != nil {
		return nil, err
	}
	_, block, _ := strings.Cut(string(text), "\n```yaml\n  healthCheckExprs:\n")
	block, _, _ = strings.Cut(block, "\n```\n")
	var checks healthChecks
	if err := yaml.UnmarshalStrict([]byte("  healthCheckExprs:\n"+block), &checks); err != nil {
		return nil, err
	}
	return checks.forDBUpgrades()
}

type healthChecks struct {
	HealthCheckExprs []Expressions `json:"healthCheckExprs"`
}

func (h *healthChecks) forDBUpgrades() (*Expressions, error) {
	exprs := h.HealthCheckExprs
	if len(exprs) != 1 || exprs[0].APIVersion != "dbupgrade.subbug.learning/v1alpha1" || exprs[0].Kind != "DBUpgrade" {
		return nil, errors.New("healthCheckExprs should have one entry, for DBUpgrades")
	}
	return &exprs[0], nil
}

// Flux is the status of an object by expressions, in the environment and the order of
// github.com/fluxcd/pkg/runtime/cel (RFC 0009).
func Flux(e *Expressions, object *unstructured.Unstructured) (string, error) {
	seen, found, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if found && seen != object.GetGeneration() {
		return status.InProgressStatus.String(), nil
	}
	for _, step := range []struct {
		expression string
		status     status.Status
	}{{e.InProgress, status.InProgressStatus}, {e.Failed, status.FailedStatus}, {e.Current, status.CurrentStatus}} {
		if step.expression == "" {
			continue
		}
		holds, err := evaluate(step.expression, object.Object)
		if err != nil {
			return "", fmt.Errorf("%s: %w", step.expression, err)
		}
		if holds {
			return step.status.String(), nil
		}
	}
	return status.InProgressStatus.String(), nil
}

// evaluate parses without types, as Flux does: it knows no schema.
func evaluate(expression string, object map[string]any) (bool, error) {
	env, err := cel.NewEnv(cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(),
		ext.Strings(), ext.Sets(), ext.Encoders())
	if err != nil {
		return false, err
	}
	ast, issues := env.Parse(expression)
	if issues != nil && issues.Err() != nil {
		return false, issues.Err()
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return false, err
	}
	value, _, err := program.Eval(object)
	if err != nil {
		return false, err
	}
	holds, ok := value.Value().(bool)
	if !ok {
		return false, fmt.Errorf("it is %v, neither true nor false", value)
	}
	return holds, nil
}
