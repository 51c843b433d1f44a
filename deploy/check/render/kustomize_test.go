package render_test

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/credproxy/credproxy/deploy/check/manifest"
)

// TestKustomize builds the example: the component puts credproxy into the pods with the
// label, before their own init containers, and into no other.
func TestKustomize(t *testing.T) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder+"kustomize/example")
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(string(text), "---\n")
	var with, without []string
	for _, doc := range docs {
		if strings.Contains(doc, "name: shop-front") {
			without = append(without, doc)
		} else {
			with = append(with, doc)
		}
	}
	pods := 0
	for _, object := range accept(t, strings.Join(with, "---\n")) {
		pod := manifest.PodTemplate(object)
		if pod == nil {
			continue
		}
		pods++
		if got := sidecar(&pod.Spec); got != "native, first" {
			t.Errorf("%s: sidecar %s", object.GetName(), got)
		}
	}
	if pods != 2 || len(without) != 1 {
		t.Errorf("%d with a sidecar, %d without", pods, len(without))
	}
	objects, err := manifest.Decode([]byte(strings.Join(without, "---\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if pod := manifest.PodTemplate(object); len(pod.Spec.InitContainers) > 0 || len(pod.Spec.Volumes) > 0 {
			t.Errorf("%s was changed: %+v", object.GetName(), pod.Spec)
		}
	}
	if count[*core.ConfigMap](objects) != 0 {
		t.Error("a configuration for who needs none")
	}
}
