/* A Vulkan loader with five devices: one GPU through two drivers, an Intel GPU whose shaders cannot
   keep 16-bit numbers, and two of before Vulkan 1.2, whose drivers die when asked for more.
   Compiled with Vulkan's own header. BEHAVIOUR is run before an instance is made. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vulkan/vulkan.h>

#define API(minor, patch) VK_MAKE_API_VERSION(0, 1, minor, patch)
#define GPU(kind) VK_PHYSICAL_DEVICE_TYPE_##kind##_GPU

static const struct gpu {
    const char *name;
    VkPhysicalDeviceType type;
    uint32_t vendor, api, driver;
    int uuid;
} gpus[] = {
    { "Radeon (RADV)", GPU(DISCRETE), 0x1002, API(4, 305), 3, 7 },
    { "Radeon", GPU(DISCRETE), 0x1002, API(3, 302), 2, 7 },
    { "Intel", GPU(INTEGRATED), 0x8086, API(2, 0), 6, 8 },
    { "Old", GPU(INTEGRATED), 0x14e4, API(0, 155), 0, 0 },
    { "Older", VK_PHYSICAL_DEVICE_TYPE_CPU, 0x10005, API(0, 2), 0, 0 },
};
enum { COUNT = sizeof gpus / sizeof *gpus };

VkResult vkEnumerateInstanceVersion(uint32_t *version) {
    *version = API(3, 239);
    return VK_SUCCESS;
}

VkResult vkCreateInstance(const VkInstanceCreateInfo *info,
                          const VkAllocationCallbacks *allocator, VkInstance *instance) {
    BEHAVIOUR
    const VkApplicationInfo *application = info->pApplicationInfo;
    if (info->sType != VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO || info->pNext || info->flags
        || info->enabledExtensionCount || info->enabledLayerCount || allocator
        || application->sType != VK_STRUCTURE_TYPE_APPLICATION_INFO
        || application->apiVersion != API(3, 239))
        return VK_ERROR_UNKNOWN;
    *instance = (VkInstance) gpus;
    return VK_SUCCESS;
}

VkResult vkEnumeratePhysicalDevices(VkInstance instance, uint32_t *count,
                                    VkPhysicalDevice *devices) {
    if (instance != (VkInstance) gpus)
        return VK_ERROR_INITIALIZATION_FAILED;
    for (uint32_t i = 0; devices && i < *count && i < COUNT; i++)
        devices[i] = (VkPhysicalDevice) &gpus[i];
    *count = COUNT;
    return VK_SUCCESS;
}

void vkGetPhysicalDeviceProperties(VkPhysicalDevice device, VkPhysicalDeviceProperties *about) {
    const struct gpu *gpu = (const struct gpu *) device;
    memset(about, 0xff, sizeof *about);
    about->apiVersion = gpu->api;
    about->vendorID = gpu->vendor;
    about->deviceID = 0x1000 + (gpu - gpus);
    about->deviceType = gpu->type;
    strcpy(about->deviceName, gpu->name);
}

static void fill(const struct gpu *gpu, VkBaseOutStructure *any) {
    if (any->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES) {
        VkPhysicalDeviceIDProperties *ids = (void *) any;
        memset(ids->deviceUUID, gpu->uuid, VK_UUID_SIZE);
        memset(ids->driverUUID, 1, VK_UUID_SIZE);
        memset(ids->deviceLUID, 1, VK_LUID_SIZE);
        ids->deviceNodeMask = 1;
        ids->deviceLUIDValid = VK_FALSE;
    } else if (any->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES) {
        VkPhysicalDeviceDriverProperties *driver = (void *) any;
        driver->driverID = gpu->driver;
        strcpy(driver->driverName, "the driver's name");
        strcpy(driver->driverInfo, "Mesa 25.0.7");
    } else {
        abort();
    }
}

void vkGetPhysicalDeviceProperties2(VkPhysicalDevice device, VkPhysicalDeviceProperties2 *about) {
    const struct gpu *gpu = (const struct gpu *) device;
    if (about->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 || gpu->api < API(2, 0))
        abort();
    vkGetPhysicalDeviceProperties(device, &about->properties);
    for (VkBaseOutStructure *any = about->pNext; any; any = any->pNext)
        fill(gpu, any);
}

void vkGetPhysicalDeviceFeatures2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *about) {
    const struct gpu *gpu = (const struct gpu *) device;
    VkPhysicalDeviceVulkan11Features *features = about->pNext;
    if (about->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2 || gpu->api < API(2, 0)
        || features->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES
        || features->pNext)
        abort();
    memset(&about->features, 0xff, sizeof about->features);
    features->storageBuffer16BitAccess = gpu->vendor != 0x8086;
    features->uniformAndStorageBuffer16BitAccess = VK_TRUE;
    features->shaderDrawParameters = VK_TRUE;
}

void vkGetPhysicalDeviceMemoryProperties(VkPhysicalDevice device,
                                         VkPhysicalDeviceMemoryProperties *memory) {
    (void) device;
    memset(memory, 0xff, sizeof *memory);
    memory->memoryTypeCount = VK_MAX_MEMORY_TYPES;
    memory->memoryHeapCount = 3;
    for (int i = 0; i < 3; i++) {
        memory->memoryHeaps[i].size = (VkDeviceSize) 8 << 30;
        memory->memoryHeaps[i].flags = i == 1 ? 0 : VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
    }
}
