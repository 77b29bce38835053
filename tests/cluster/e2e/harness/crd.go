// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// CRD reads manifests/crd.
func CRD() (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(Root("manifests", "crd", "dbupgrades.yaml"))
	if err != nil {
		return nil, err
	}
	crd := &unstructured.Unstructured{}
	return crd, yaml.UnmarshalStrict(text, &crd.Object)
}

// Schema is the CRD's openAPIV3Schema: a part of it, not a copy.
func Schema(crd *unstructured.Unstructured) (map[string]any, error) {
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if len(versions) != 1 {
		return nil, errors.New("the CRD should have one version")
	}
	version := crd.Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
	schema, ok := version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
	if !ok {
		return nil, errors.New("the CRD has no schema")
	}
	return schema, nil
}

// InstallCRD creates or replaces the CRD and waits until the API server judges by it: until the
// spec {} is refused, or taken when it is permissive.
func (c *Cluster) InstallCRD(t testing.TB, crd *unstructured.Unstructured, permissive bool) {
	t.Helper()
	ctx, crds := t.Context(), c.Dynamic.Resource(CRDs)
	_, err := crds.Create(ctx, crd, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		var old *unstructured.Unstructured
		if old, err = crds.Get(ctx, crd.GetName(), metav1.GetOptions{}); err == nil {
			crd = crd.DeepCopy()
			crd.SetResourceVersion(old.GetResourceVersion())
			_, err = crds.Update(ctx, crd, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		t.Fatalf("install the CRD: %v", err)
	}
	Eventually(t, 20*time.Second, "the CRD takes effect", func() error {
		taken, err := c.takesEmptySpec(ctx)
		if err == nil && taken != permissive {
			err = fmt.Errorf("spec {} taken: %v", taken)
		}
		return err
	})
}

func (c *Cluster) takesEmptySpec(ctx context.Context) (bool, error) {
	probe := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "dbupgrade.subbug.learning/v1alpha1",
		"kind":       "DBUpgrade",
		"metadata":   map[string]any{"name": "probe"},
		"spec":       map[string]any{},
	}}
	_, err := c.Dynamic.Resource(DBUpgrades).Namespace("default").Create(ctx, probe,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsInvalid(err) {
		return false, nil
	}
	return err == nil, err
}
