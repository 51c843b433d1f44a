# credproxy, once for each service that uses it: its role with the least policy, as
# "credproxy policy" prints it, a queue of rotations, and a log group. For several
# roles take what credproxy policy prints.

variable "name" {
  description = "Of the service, such as orders. Role, queue and log group are named after it, so that their ARNs are known beforehand."
  type        = string
}

variable "platform" {
  description = "Who may take the role: ECS tasks, a pod of EKS, or EC2 instances."
  type        = string
  validation {
    condition     = contains(["ecs", "eks", "ec2"], var.platform)
    error_message = "ecs, eks or ec2."
  }
  validation {
    condition     = var.platform != "eks" || (var.namespace != "" && var.service_account != "")
    error_message = "eks needs namespace and service_account, else every pod of the account's clusters could take the role."
  }
}

variable "namespace" {
  description = "eks: of the pod."
  type        = string
  default     = ""
}

variable "service_account" {
  description = "eks: of the pod."
  type        = string
  default     = ""
}

variable "cluster_name" {
  description = "eks: the cluster in which to associate the role with the service account, by Pod Identity. The cluster needs the add-on eks-pod-identity-agent. Empty: associate it yourself, or use IRSA."
  type        = string
  default     = ""
  validation {
    condition     = var.cluster_name == "" || var.platform == "eks" && var.oidc_provider_arn == ""
    error_message = "cluster_name is for eks with Pod Identity; oidc_provider_arn is for IRSA."
  }
}

variable "oidc_provider_arn" {
  description = "eks: the cluster's OIDC provider, for IRSA in place of Pod Identity (Fargate has no Pod Identity). The service account then wants the annotation eks.amazonaws.com/role-arn."
  type        = string
  default     = ""
  validation {
    condition     = var.oidc_provider_arn == "" || var.platform == "eks" && strcontains(var.oidc_provider_arn, ":oidc-provider/")
    error_message = "oidc_provider_arn is for eks, and like arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
  }
}

# Lists, whose length is known even when the secret is made in the same run.

variable "secret_arns" {
  description = "Secrets in this account that credproxy reads. Outputs of secret."
  type        = list(string)
  default     = []
}

variable "kms_key_arns" {
  description = "The secrets' keys, if they are your own."
  type        = list(string)
  default     = []
}

variable "database_user_arns" {
  description = "IAM authentication: such as arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC/app"
  type        = list(string)
  default     = []
}

variable "dsql_cluster_arns" {
  description = "Clusters of Aurora DSQL, for roles other than admin."
  type        = list(string)
  default     = []
}

variable "reader_role_arn" {
  description = "Role in another account to take first, which reader makes there once this role exists."
  type        = string
  default     = ""
}

variable "reader_secret_arn" {
  description = "Secret in the other account whose rotations the queue gets, from the rule that reader makes there."
  type        = string
  default     = ""
  validation {
    condition     = var.reader_secret_arn == "" || var.reader_role_arn != ""
    error_message = "reader_secret_arn needs reader_role_arn."
  }
}

variable "log_retention_days" {
  type    = number
  default = 30
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.region
  reads     = length(var.secret_arns) > 0
  hears     = local.reads || var.reader_secret_arn != ""
  sources = merge(
    !local.reads ? {} : { rule = {
      Sid       = "TheRule"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = one(aws_sqs_queue.rotations[*].arn)
      Condition = { ArnEquals = { "aws:SourceArn" = one(aws_cloudwatch_event_rule.rotations[*].arn) } }
    } },
    # The account and not the role is the principal: that need not exist yet.
    var.reader_secret_arn == "" ? {} : { reader = {
      Sid       = "TheRuleOfTheReader"
      Effect    = "Allow"
      Principal = { AWS = split(":", var.reader_role_arn)[4] }
      Action    = "sqs:SendMessage"
      Resource  = one(aws_sqs_queue.rotations[*].arn)
      Condition = { ArnEquals = { "aws:PrincipalArn" = "${var.reader_role_arn}-events" } }
    } },
  )

  issuer = reverse(split(":oidc-provider/", var.oidc_provider_arn))[0]
  trust = {
    ecs = {
      Sid       = "TrustThePlatform"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = ["sts:AssumeRole"]
      Condition = {
        ArnLike      = { "aws:SourceArn" = ["arn:${local.partition}:ecs:${local.region}:${local.account}:*"] }
        StringEquals = { "aws:SourceAccount" = [local.account] }
      }
    }
    eks = {
      Sid       = "TrustThePlatform"
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:RequestTag/kubernetes-namespace"       = [var.namespace]
          "aws:RequestTag/kubernetes-service-account" = [var.service_account]
          "aws:SourceAccount"                         = [local.account]
        }
      }
    }
    irsa = {
      Sid       = "TrustTheServiceAccount"
      Effect    = "Allow"
      Principal = { Federated = var.oidc_provider_arn }
      Action    = ["sts:AssumeRoleWithWebIdentity"]
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = ["sts.amazonaws.com"]
          "${local.issuer}:sub" = ["system:serviceaccount:${var.namespace}:${var.service_account}"]
        }
      }
    }
    ec2 = {
      Sid       = "TrustThePlatform"
      Effect    = "Allow"
      Principal = { Service = "ec2.${data.aws_partition.this.dns_suffix}" }
      Action    = ["sts:AssumeRole"]
    }
  }

  policy = concat(
    var.reader_role_arn == "" ? [] : [{
      Sid      = "AssumeRoles"
      Effect   = "Allow"
      Action   = ["sts:AssumeRole", "sts:TagSession"]
      Resource = [var.reader_role_arn]
    }],
    length(var.dsql_cluster_arns) == 0 ? [] : [{
      Sid      = "ConnectToClusters"
      Effect   = "Allow"
      Action   = ["dsql:DbConnect"]
      Resource = var.dsql_cluster_arns
    }],
    length(var.database_user_arns) == 0 ? [] : [{
      Sid      = "ConnectToDatabases"
      Effect   = "Allow"
      Action   = ["rds-db:connect"]
      Resource = var.database_user_arns
    }],
    length(var.kms_key_arns) == 0 ? [] : [{
      Sid       = "DecryptSecrets"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = var.kms_key_arns
      Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.${local.region}.amazonaws.com"] } }
    }],
    !local.reads ? [] : [{
      Sid      = "ReadSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
      Resource = var.secret_arns
    }],
    !local.hears ? [] : [{
      Sid      = "ReceiveRotationEvents"
      Effect   = "Allow"
      Action   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
      Resource = aws_sqs_queue.rotations[*].arn
    }],
  )
}

resource "aws_iam_role" "this" {
  name               = "${var.name}-credproxy"
  description        = "credproxy"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [local.trust[var.oidc_provider_arn == "" ? var.platform : "irsa"]] })

  lifecycle {
    precondition {
      condition     = length(local.policy) > 0
      error_message = "One of secret_arns, database_user_arns, dsql_cluster_arns and reader_role_arn is needed."
    }
  }
}

resource "aws_iam_role_policy" "this" {
  name   = "credproxy"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.policy })
}

resource "aws_iam_instance_profile" "this" {
  count = var.platform == "ec2" ? 1 : 0
  name  = "${var.name}-credproxy"
  role  = aws_iam_role.this.name
}

resource "aws_eks_pod_identity_association" "this" {
  count           = var.cluster_name == "" ? 0 : 1
  cluster_name    = var.cluster_name
  namespace       = var.namespace
  service_account = var.service_account
  role_arn        = aws_iam_role.this.arn
}

# One queue for each process that is to hear of every rotation; see docs/events.md.
resource "aws_sqs_queue" "rotations" {
  count                     = local.hears ? 1 : 0
  name                      = "${var.name}-rotations"
  message_retention_seconds = 3600
  sqs_managed_sse_enabled   = true
}

resource "aws_cloudwatch_event_rule" "rotations" {
  count       = local.reads ? 1 : 0
  name_prefix = "${var.name}-rotations-"
  description = "AWSCURRENT of a secret of credproxy moves"
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["Secret Label Updated"]
    resources   = var.secret_arns
    detail      = { labelUpdated = ["AWSCURRENT"] }
  })
}

resource "aws_cloudwatch_event_target" "rotations" {
  count = local.reads ? 1 : 0
  rule  = aws_cloudwatch_event_rule.rotations[0].name
  arn   = aws_sqs_queue.rotations[0].arn
}

resource "aws_sqs_queue_policy" "rotations" {
  count     = local.hears ? 1 : 0
  queue_url = aws_sqs_queue.rotations[0].url
  policy    = jsonencode({ Version = "2012-10-17", Statement = values(local.sources) })
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/credproxy/${var.name}"
  retention_in_days = var.log_retention_days
}

output "role_arn" {
  value = aws_iam_role.this.arn
}

output "log_group_name" {
  value = aws_cloudwatch_log_group.this.name
}

output "queue_arn" {
  description = "For rotation_queue_arn of reader."
  value       = one(aws_sqs_queue.rotations[*].arn)
}

output "queue_url" {
  description = "For rotation.events.sqs_queue_url."
  value       = one(aws_sqs_queue.rotations[*].url)
}

output "secret_arns" {
  description = "Those in this account that the role reads."
  value       = var.secret_arns
}
