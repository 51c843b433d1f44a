// Package ecs_test holds the task definitions of deploy/ecs against Amazon's own types.
//
// It registers them with the AWS SDK, whose request must be the file again: a key
// that is unknown, misspelt or of another type would be missing or refused. No request
// leaves the process, so what only ECS itself checks is not checked.
package ecs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// drainSeconds is the default of shutdown.drain_timeout.
const drainSeconds = 30

func TestTaskDefinitions(t *testing.T) {
	for file, launch := range map[string]types.Compatibility{"task-fargate.json": types.CompatibilityFargate, "task-ec2.json": types.CompatibilityEc2} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile("../../ecs/" + file)
			if err != nil {
				t.Fatal(err)
			}
			task, err := decode(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, wrong := range check(t, task) {
				t.Error(wrong)
			}
			if !slices.Equal(task.RequiresCompatibilities, []types.Compatibility{launch}) {
				t.Errorf("launch types %v", task.RequiresCompatibilities)
			}
			if launch == types.CompatibilityFargate && (task.Cpu == nil || task.Memory == nil) {
				t.Error("Fargate wants cpu and memory of the task")
			}
		})
	}
}

// TestMistakes: what may go wrong in a task definition is found.
func TestMistakes(t *testing.T) {
	text, err := os.ReadFile("../../ecs/task-fargate.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range [][2]string{
		{`"taskRoleArn"`, `"taskRole"`},
		{`"stopTimeout": 45`, `"stopTimeout": "45"`},
		{`"stopTimeout": 45`, `"stopTimeout": 5`},
		{`"stopTimeout": 45`, `"stopTimeout": 121`},
		{`"healthCheck"`, `"healthcheck"`},
		{`"family": "orders"`, `"family": null`},
		{`"HEALTHY"`, `"READY"`},
		{`"HEALTHY"`, `"START"`},
		{`"awslogs"`, `"cloudwatch"`},
		{`"containerName": "credproxy"`, `"containerName": "proxy"`},
		{`"/usr/bin/credproxy",`, `"credproxy",`},
		{`"awsvpc"`, `"bridge"`},
		{`"CREDPROXY_METRICS_EMF"`, `"METRICS_EMF"`},
	} {
		changed := strings.Replace(string(text), m[0], m[1], 1)
		if changed == string(text) {
			t.Errorf("%q is not there", m[0])
		}
		task, err := decode([]byte(changed))
		if err == nil && len(check(t, task)) == 0 {
			t.Errorf("%q for %q: nothing is found", m[1], m[0])
		}
	}
}

// decode reads a task definition, and wants the SDK to send what is written.
func decode(text []byte) (*ecs.RegisterTaskDefinitionInput, error) {
	var task ecs.RegisterTaskDefinitionInput
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&task); err != nil {
		return nil, err
	}
	var sent []byte
	errSent := errors.New("sent")
	client := ecs.New(ecs.Options{Region: "eu-west-1", Credentials: aws.AnonymousCredentials{}, Retryer: aws.NopRetryer{}, HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
		sent, _ = io.ReadAll(r.Body)
		return nil, errSent
	})})
	if _, err := client.RegisterTaskDefinition(context.Background(), &task); !errors.Is(err, errSent) {
		return nil, err
	}
	var want, got any
	if err := errors.Join(json.Unmarshal(text, &want), json.Unmarshal(sent, &got)); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(got, want) {
		return nil, errors.New("the SDK would send " + string(sent))
	}
	return &task, nil
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// check says what is wrong with a task that the types allow.
func check(t *testing.T, task *ecs.RegisterTaskDefinitionInput) (wrong []string) {
	t.Helper()
	if task.NetworkMode != types.NetworkModeAwsvpc {
		wrong = append(wrong, "containers share loopback in awsvpc only")
	}
	if task.TaskRoleArn == nil {
		wrong = append(wrong, "no role to read the secret with")
	}
	proxies := 0
	for _, c := range task.ContainerDefinitions {
		if l := c.LogConfiguration; l == nil || !slices.Contains(l.LogDriver.Values(), l.LogDriver) {
			wrong = append(wrong, *c.Name+": log driver")
		}
		if c.StopTimeout == nil || *c.StopTimeout > 120 { // what Fargate allows
			wrong = append(wrong, *c.Name+": stop timeout")
		}
		if *c.Name != "credproxy" {
			if !slices.ContainsFunc(c.DependsOn, func(d types.ContainerDependency) bool {
				return *d.ContainerName == "credproxy" && d.Condition == types.ContainerConditionHealthy
			}) {
				wrong = append(wrong, *c.Name+" does not wait for credproxy")
			}
			continue
		}
		proxies++
		if c.HealthCheck == nil || !slices.Equal(c.HealthCheck.Command, append([]string{"CMD"}, imageHealthCheck(t)...)) {
			wrong = append(wrong, "the health check is not the image's")
		}
		if c.StopTimeout != nil && *c.StopTimeout < drainSeconds {
			wrong = append(wrong, "the stop timeout is shorter than the drain")
		}
		if !slices.ContainsFunc(c.Environment, func(v types.KeyValuePair) bool {
			return *v.Name == "CREDPROXY_METRICS_EMF" && *v.Value == "true"
		}) {
			wrong = append(wrong, "no metrics in CloudWatch")
		}
		if !aws.ToBool(c.ReadonlyRootFilesystem) || aws.ToString(c.User) != "65532:65532" {
			wrong = append(wrong, "credproxy may write, or runs as another user")
		}
	}
	if proxies != 1 {
		wrong = append(wrong, "not one container credproxy")
	}
	return wrong
}

// imageHealthCheck is the command of the Dockerfile's HEALTHCHECK.
func imageHealthCheck(t *testing.T) (command []string) {
	t.Helper()
	text, err := os.ReadFile("../../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD (\[.*\])$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("no HEALTHCHECK in the Dockerfile")
	}
	if err := json.Unmarshal(m[1], &command); err != nil {
		t.Fatal(err)
	}
	return command
}
