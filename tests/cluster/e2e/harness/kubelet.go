// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
)

const kubeletNode = "node-1"

// KubeletNode makes the node that Kubelets bind Pods to, so that nobody takes them for orphans.
func (c *Cluster) KubeletNode() error {
	_, err := c.Client.CoreV1().Nodes().Create(context.Background(),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: kubeletNode}}, metav1.CreateOptions{})
	return err
}

// Kubelet plays scheduler and kubelet for the Pods of migrations in one namespace: it writes the
// status that they would write. The tag of the image says what the container does:
//
//	ok…    runs and ends with 0
//	fail…  runs, says "pq: relation \"users\" already exists" and ends with 1
//	hang…  runs until Finish, or until it is deleted
//	typo…  is never pulled
//	wait…  is not even scheduled
type Kubelet struct {
	// HoldDeleted keeps running containers of deleted Pods alive until Finish.
	HoldDeleted bool

	t        testing.TB
	client   kubernetes.Interface
	upgrades dynamic.ResourceInterface
	ctx      context.Context
	work     sync.WaitGroup

	mu     sync.Mutex
	seen   map[string]bool       // UIDs of Pods that are looked after
	ran    []string              // tags, in order of start
	active map[string]int        // running containers, by the label of the DBUpgrade's name
	finish map[string]chan int32 // of running containers, by tag
}

// NewKubelet starts one that lasts until the test ends.
func (c *Cluster) NewKubelet(t testing.TB, namespace string) *Kubelet {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	k := &Kubelet{t: t, client: c.Client, upgrades: c.Dynamic.Resource(DBUpgrades).Namespace(namespace), ctx: ctx, seen: map[string]bool{}, active: map[string]int{},
		finish: map[string]chan int32{}}
	factory := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithNamespace(namespace))
	pods := factory.Core().V1().Pods().Informer()
	look := func(object any) { k.look(object.(*corev1.Pod)) }
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, object any) { look(object) }}); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
		k.work.Wait()
	})
	return k
}

// Ran lists the tags of the images whose containers have started, in order.
func (k *Kubelet) Ran() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string{}, k.ran...)
}

// Finish ends the running container of this tag with an exit code.
func (k *Kubelet) Finish(tag string, code int32) {
	k.t.Helper()
	Eventually(k.t, 30*time.Second, "the container of "+tag+" runs", func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.finish[tag] == nil {
			return fmt.Errorf("ran: %v", k.ran)
		}
		k.finish[tag] <- code
		delete(k.finish, tag)
		return nil
	})
}

func tag(pod *corev1.Pod) string {
	_, tag, _ := strings.Cut(pod.Spec.Containers[0].Image, ":")
	return tag
}

func (k *Kubelet) look(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen[string(pod.UID)] || strings.HasPrefix(tag(pod), "wait") {
		return
	}
	k.seen[string(pod.UID)] = true
	k.work.Go(func() { k.run(pod) })
}

// run takes a Pod from its binding to its end.
func (k *Kubelet) run(pod *corev1.Pod) {
	err := k.client.CoreV1().Pods(pod.Namespace).Bind(k.ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: kubeletNode},
	}, metav1.CreateOptions{})
	if err != nil {
		return // deleted meanwhile
	}
	if strings.HasPrefix(tag(pod), "typo") {
		k.write(pod, corev1.PodPending, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason: "ImagePullBackOff", Message: "Back-off pulling image " + pod.Spec.Containers[0].Image}})
		k.awaitDeletion(pod, nil)
		k.remove(pod)
		return
	}
	started := metav1.Now()
	finish := make(chan int32, 1)
	k.begin(pod, finish)
	k.write(pod, corev1.PodRunning, corev1.ContainerState{
		Running: &corev1.ContainerStateRunning{StartedAt: started}})
	code, deleted := k.container(pod, finish)
	end := &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Completed", StartedAt: started, FinishedAt: metav1.Now()}
	phase := corev1.PodSucceeded
	if code != 0 {
		phase, end.Reason, end.Message = corev1.PodFailed, "Error", `pq: relation "users" already exists`
	}
	k.end(pod)
	k.write(pod, phase, corev1.ContainerState{Terminated: end})
	if !deleted {
		k.awaitDeletion(pod, nil)
	}
	k.remove(pod)
}

// container waits for the end of the container: its own, or the Pod's deletion.
func (k *Kubelet) container(pod *corev1.Pod, finish chan int32) (code int32, deleted bool) {
	if strings.HasPrefix(tag(pod), "ok") || strings.HasPrefix(tag(pod), "fail") {
		k.awaitSeen(pod)
	}
	switch {
	case strings.HasPrefix(tag(pod), "ok"):
		return 0, false
	case strings.HasPrefix(tag(pod), "fail"):
		return 1, false
	case k.HoldDeleted:
		select {
		case code = <-finish:
		case <-k.ctx.Done():
		}
		return code, false
	}
	if code, ok := k.awaitDeletion(pod, finish); ok {
		return code, false
	}
	return 137, true
}

// unseen is how long a container runs at most that ends by itself.
const unseen = time.Minute

// awaitSeen waits until a status says that the Pod's Job is running: no real migration is over before
// anybody could see that it runs, but nobody looks while the operator is cut off, or at another's Job.
func (k *Kubelet) awaitSeen(pod *corev1.Pod) {
	if pod.Labels["dbupgrade.subbug.learning/name"] == "" {
		return
	}
	words := pod.Labels[batchv1.JobNameLabel] + " is running"
	end := time.After(unseen)
	for {
		list, err := k.upgrades.List(k.ctx, metav1.ListOptions{})
		if err == nil && slices.ContainsFunc(list.Items, func(o unstructured.Unstructured) bool {
			return strings.HasSuffix(Text(&o, "status", "message"), words)
		}) {
			return
		}
		select {
		case <-end:
			return
		case <-k.ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (k *Kubelet) begin(pod *corev1.Pod, finish chan int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := pod.Labels["dbupgrade.subbug.learning/name"]
	k.ran = append(k.ran, tag(pod))
	k.finish[tag(pod)] = finish
	k.active[name]++
	if k.active[name] > 1 {
		k.t.Errorf("%d containers of %s run at a time: %v", k.active[name], name, k.ran)
	}
}

func (k *Kubelet) end(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.active[pod.Labels["dbupgrade.subbug.learning/name"]]--
	delete(k.finish, tag(pod))
}

// awaitDeletion waits until the Pod is to be deleted or is gone, or until finish tells a code.
func (k *Kubelet) awaitDeletion(pod *corev1.Pod, finish chan int32) (code int32, finished bool) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case code = <-finish: // nil: never
			return code, true
		case <-k.ctx.Done():
			return 0, false
		case <-tick.C:
			now, err := k.client.CoreV1().Pods(pod.Namespace).Get(k.ctx, pod.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) || err == nil && (now.UID != pod.UID || now.DeletionTimestamp != nil) {
				return 0, false
			}
		}
	}
}

func (k *Kubelet) write(pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) {
	ready := corev1.ConditionFalse
	if phase == corev1.PodRunning {
		ready = corev1.ConditionTrue
	}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now, err := k.client.CoreV1().Pods(pod.Namespace).Get(k.ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.Status.Phase = phase
		now.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
			{Type: corev1.ContainersReady, Status: ready},
			{Type: corev1.PodReady, Status: ready},
		}
		now.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "migrate",
			Image: pod.Spec.Containers[0].Image, State: state, Ready: ready == corev1.ConditionTrue}}
		_, err = k.client.CoreV1().Pods(pod.Namespace).UpdateStatus(k.ctx, now, metav1.UpdateOptions{})
		return err
	})
	if err != nil && k.ctx.Err() == nil && !apierrors.IsNotFound(err) {
		k.t.Errorf("pod %s: %v", pod.Name, err)
	}
}

// remove ends a Pod's deletion, as the kubelet does when its containers have ended.
func (k *Kubelet) remove(pod *corev1.Pod) {
	if k.ctx.Err() != nil {
		return
	}
	zero, uid := int64(0), pod.UID
	_ = k.client.CoreV1().Pods(pod.Namespace).Delete(k.ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &uid}})
}
