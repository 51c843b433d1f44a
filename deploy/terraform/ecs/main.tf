# credproxy on ECS Fargate, once for each service: an application with its sidecar. Task definition and
# service, execution role, security group and its way to the database; the task's role, the log group and the
# queue of module credproxy; the alarms and the dashboard of module alarms.

variable "name" {
  description = "Of the service, such as orders."
  type        = string
}

variable "environment" {
  description = "Such as prod: a dimension of the metrics."
  type        = string
}

variable "cluster_arn" {
  type = string
}

variable "image" {
  description = "Of credproxy."
  type        = string
  default     = "ghcr.io/credproxy/credproxy:v0.1.0"
}

variable "containers" {
  description = "Container definitions of the application, as ECS has them: name, image, cpu, memory, environment, portMappings. They wait for credproxy, and log to the same group."
  type        = any
}

variable "secret_arns" {
  description = "Secrets in this account, one for each database. Outputs of secret. Empty: the image has a configuration."
  type        = list(string)
  default     = []
}

variable "emergency_secret_arns" {
  description = "Break-glass: a secret of a user for emergencies in the place of each of secret_arns, in their order."
  type        = list(string)
  default     = []
  validation {
    condition     = contains([0, length(var.secret_arns)], length(var.emergency_secret_arns))
    error_message = "As many as secret_arns, or none."
  }
}

variable "emergency" {
  description = "true: log in with emergency_secret_arns. The service is deployed anew."
  type        = bool
  default     = false
  validation {
    condition     = !var.emergency || length(var.emergency_secret_arns) > 0
    error_message = "There are no emergency_secret_arns."
  }
}

variable "kms_key_arns" {
  description = "The secrets' keys, if they are your own."
  type        = list(string)
  default     = []
}

variable "database_user_arns" {
  description = "IAM authentication, as in module credproxy."
  type        = list(string)
  default     = []
}

variable "dsql_cluster_arns" {
  description = "Aurora DSQL, as in module credproxy."
  type        = list(string)
  default     = []
}

variable "reader_role_arn" {
  description = "Another account, as in module credproxy."
  type        = string
  default     = ""
}

variable "reader_secret_arn" {
  description = "Another account, as in module credproxy."
  type        = string
  default     = ""
}

variable "databases" {
  description = "Names of the databases, for alarms: prod-orders for the secret prod/orders, or the configuration's names."
  type        = list(string)
}

variable "alert_topic_arns" {
  description = "Output of account, in a list, whose length is known even when account is made in the same run. Empty: nobody is told."
  type        = list(string)
  default     = []
}

variable "cpu" {
  description = "Of the task, in units: 256 is a quarter of a processor."
  type        = number
  default     = 256
}

variable "memory" {
  description = "Of the task, in MB."
  type        = number
  default     = 512
}

variable "architecture" {
  type    = string
  default = "X86_64"
  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "X86_64 or ARM64."
  }
}

variable "desired_count" {
  type    = number
  default = 2
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  description = "Reach the database, and AWS by endpoints or NAT: Secrets Manager, STS, SQS, CloudWatch Logs, the image's registry."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Further ones, such as what lets the load balancer in."
  type        = list(string)
  default     = []
}

variable "database_networks" {
  description = "Security group and port of each database, by any name: the task may reach it, and it lets the task in."
  type        = map(object({ security_group_id = string, port = number }))
}

variable "load_balancers" {
  description = "Target groups: { target_group_arn, container_name, container_port }."
  type        = list(object({ target_group_arn = string, container_name = string, container_port = number }))
  default     = []
}

data "aws_partition" "this" {}
data "aws_region" "this" {}
data "aws_caller_identity" "this" {}

locals {
  secrets = var.emergency ? var.emergency_secret_arns : var.secret_arns
  command = length(local.secrets) == 0 ? {} : { command = concat(["run"], local.secrets) }

  logs = { for name in concat(["credproxy"], var.containers[*].name) : name => {
    logDriver = "awslogs"
    options = {
      awslogs-group         = module.credproxy.log_group_name
      awslogs-region        = data.aws_region.this.region
      awslogs-stream-prefix = name
      mode                  = "non-blocking"
      max-buffer-size       = "4m"
    }
  } }

  credproxy = merge(local.command, {
    name      = "credproxy"
    image     = var.image
    essential = true
    environment = [
      { name = "CREDPROXY_METRICS_EMF", value = "true" },
      { name = "CREDPROXY_METRICS_SERVICE", value = var.name },
      { name = "CREDPROXY_METRICS_ENVIRONMENT", value = var.environment },
      { name = "GOMEMLIMIT", value = "160MiB" },
    ]
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { drop = ["ALL"] } }
    cpu                    = 64
    memory                 = 192
    memoryReservation      = 48
    healthCheck = { # patient: a new task has no cached credential
      command     = ["CMD", "/usr/bin/credproxy", "healthcheck"]
      interval    = 5
      timeout     = 5
      retries     = 10
      startPeriod = 300
    }
    stopTimeout      = 45 # longer than shutdown.drain_timeout
    logConfiguration = local.logs["credproxy"]
  })

  application = [for container in var.containers : merge({
    essential        = true
    dependsOn        = [{ containerName = "credproxy", condition = "HEALTHY" }]
    stopTimeout      = 30
    logConfiguration = local.logs[container.name]
  }, container)]
}

module "credproxy" {
  source             = "../credproxy"
  name               = var.name
  platform           = "ecs"
  secret_arns        = concat(var.secret_arns, var.emergency_secret_arns)
  kms_key_arns       = var.kms_key_arns
  database_user_arns = var.database_user_arns
  dsql_cluster_arns  = var.dsql_cluster_arns
  reader_role_arn    = var.reader_role_arn
  reader_secret_arn  = var.reader_secret_arn
}

module "alarms" {
  source           = "../alarms"
  service          = var.name
  environment      = var.environment
  databases        = var.databases
  alert_topic_arns = var.alert_topic_arns
}

# Of ECS itself: pulls images, and writes the log.
resource "aws_iam_role" "execution" {
  name        = "${var.name}-execution"
  description = "ECS starts ${var.name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TrustThePlatform"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = ["sts:AssumeRole"]
      Condition = {
        ArnLike      = { "aws:SourceArn" = ["arn:${data.aws_partition.this.partition}:ecs:${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}:*"] }
        StringEquals = { "aws:SourceAccount" = [data.aws_caller_identity.this.account_id] }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-"
  description = "Tasks of ${var.name}"
  vpc_id      = var.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "AWS, and the registry of images"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "database" {
  for_each                     = var.database_networks
  security_group_id            = aws_security_group.this.id
  description                  = "The database"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = each.value.security_group_id
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  for_each                     = var.database_networks
  security_group_id            = each.value.security_group_id
  description                  = "Tasks of ${var.name}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = aws_security_group.this.id
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc" # in which containers share 127.0.0.1
  task_role_arn            = module.credproxy.role_arn
  execution_role_arn       = aws_iam_role.execution.arn
  cpu                      = var.cpu
  memory                   = var.memory
  container_definitions    = jsonencode(concat([local.credproxy], local.application))

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }
}

resource "aws_ecs_service" "this" {
  name            = var.name
  cluster         = var.cluster_arn
  task_definition = aws_ecs_task_definition.this.arn
  desired_count   = var.desired_count
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"

  network_configuration {
    subnets         = var.subnet_ids
    security_groups = concat([aws_security_group.this.id], var.security_group_ids)
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  dynamic "load_balancer" {
    for_each = var.load_balancers
    content {
      target_group_arn = load_balancer.value.target_group_arn
      container_name   = load_balancer.value.container_name
      container_port   = load_balancer.value.container_port
    }
  }

  # The credential is read at the start: its role's policies come first.
  depends_on = [aws_iam_role_policy_attachment.execution, module.credproxy]
}

output "role_arn" {
  description = "Of the task, for trusted_role_arn of reader."
  value       = module.credproxy.role_arn
}

output "queue_url" {
  value = module.credproxy.queue_url
}

output "security_group_id" {
  description = "Of the tasks, for what they may be reached from."
  value       = aws_security_group.this.id
}
